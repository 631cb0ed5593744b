"""A scripted model whose variants change: its stack and its artifacts of the moment, and how a change is proposed."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from serve.config.stack import Stack
from tests.support.scripted import echo_stack, make_adapter, make_artifact, make_artifacts, with_variants
from variants.artifacts.store import Artifact

ADAPTERS = {"kind": "scripted", "token_s": 0.002, "adapters": {"slots": 3}}
SLOW = {"kind": "scripted", "token_s": 0.02}


class Family:
    """`echo` as it changes; a variant called `lora...` is an adapter of its baseline."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.base = home, echo_stack(port)
        self.variants: dict[str, dict[str, Any]] = {
            "baseline": {"weight": 90, "engine": SLOW},
            "int8": {"weight": 10, "engine": SLOW},
        }
        self.builds: dict[str, int] = {}

    @property
    def stack(self) -> Stack:
        return with_variants(self.base, "echo", self.variants)

    @property
    def artifacts(self) -> dict[tuple[str, str], Artifact]:
        artifacts = make_artifacts(self.home, self.stack)
        for name in self.variants:
            if name.startswith("lora"):
                base = artifacts["echo", "baseline"]
                artifacts["echo", name] = make_adapter(self.home, "echo", name, base)
            elif name in self.builds:
                artifacts["echo", name] = make_artifact(self.home, "echo", name, "text-generation", self.builds[name])
        return artifacts

    def digest(self, variant: str) -> str:
        return self.artifacts["echo", variant].manifest.digest

    def proposal(self, **more: Any) -> dict[str, Any]:
        keys = {f"{model}@{variant}": artifact.manifest.key for (model, variant), artifact in self.artifacts.items()}
        return {"stack": self.stack.model_dump(mode="json", by_alias=True), "artifacts": keys, **more}


async def change(client: httpx.AsyncClient, document: dict[str, Any]) -> dict[str, Any]:
    """Propose it and wait for its end."""
    answer = await client.post("/admin/v1/stack", json=document)
    assert answer.status_code == 202, answer.text
    while True:
        change = (await client.get("/admin/v1/stack")).json()["change"]
        if change["state"] in ("done", "failed", "cancelled"):
            return dict(change)
        await asyncio.sleep(0.05)
