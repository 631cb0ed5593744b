"""A client that leaves vLLM, through the door: vLLM's count of running requests falls to 0 before the answers end."""

import asyncio
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from serve.config.loader import parse
from serve.engines.launch import Launch, launch
from serve.engines.process import EngineProcess
from serve.ports import free_port
from tests.integration.serve.engines.engine import write_manifest
from tests.integration.serve.engines.tiny_text import write_tiny_text
from tests.support import local_stage
from tests.support.scripted import RECIPE, SOURCE
from variants.artifacts.store import open_artifact

pytestmark = pytest.mark.integration
CONTEXT, LIMIT_S = 8192, 60
LONG = {"model": "tiny", "max_tokens": CONTEXT - 200, "ignore_eos": True, "temperature": 0}
MESSAGES = [{"role": "user", "content": "a good film"}]
ASKED = [
    ("/v1/completions", {"prompt": "a good film", "stream": True}),
    ("/v1/completions", {"prompt": "a good film"}),
    ("/v1/completions", {"prompt": ["a good film", "a bad film"], "n": 2, "temperature": 1}),
    ("/v1/chat/completions", {"messages": MESSAGES, "stream": True, "n": 2, "temperature": 1}),
    ("/v1/chat/completions", {"messages": MESSAGES}),
]


def launch_with_statistics(*how: Any) -> Launch:
    """vLLM as it is served, and its counts in `/metrics`."""
    launched = launch(*how)
    command = tuple(word for word in launched.command if word != "--disable-log-stats")
    return Launch(command, launched.environment, launched.artifact)


async def count(engine: EngineProcess, name: str) -> float:
    async with (
        aiohttp.ClientSession(headers=engine.headers) as session,
        session.get(f"{engine.url}/metrics") as answer,
    ):
        text = await answer.text()
    return sum(map(float, re.findall(rf"^vllm:{name}{{[^}}]*}} (\S+)$", text, re.MULTILINE)))


async def test_vllm_ends_what_nobody_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setattr(local_stage, "launch", launch_with_statistics)
    folder = tmp_path / "artifacts" / "00" / "tiny"
    write_tiny_text(folder / "model", CONTEXT)
    write_manifest(folder)
    engine = {"kind": "vllm", "context": CONTEXT, "kv_cache_mib": 64, "sequences": 8}
    variants = {"baseline": {"recipe": RECIPE, "weight": 1, "engine": engine}}
    model = {"task": "text-generation", "source": SOURCE, "variants": variants}
    stack = parse({"schema": 1, "server": {"port": free_port()}, "models": {"tiny": model}})
    artifacts = {("tiny", "baseline"): open_artifact(folder)}
    async with local_stage.local(tmp_path, stack, artifacts) as served:
        process = served.engine("tiny", "baseline")
        for path, body in ASKED:
            before = await count(process, "generation_tokens_total")
            choices = int(body.get("n", 1)) * (2 if isinstance(body.get("prompt"), list) else 1)
            leaving = asyncio.create_task(served.client.post(path, json=LONG | body, timeout=600))
            async with asyncio.timeout(LIMIT_S):
                while await count(process, "num_requests_running") < choices:
                    assert not leaving.done(), leaving.result().text
                    await asyncio.sleep(0.02)
                leaving.cancel()
                while await count(process, "num_requests_running"):
                    await asyncio.sleep(0.02)
            made = await count(process, "generation_tokens_total") - before
            assert made < 0.9 * LONG["max_tokens"] * choices  # it did not end by itself
            assert await count(process, "num_requests_waiting") == 0
        answer = await served.client.post("/v1/completions", json=LONG | {"prompt": "a", "max_tokens": 2}, timeout=60)
        assert answer.json()["usage"]["completion_tokens"] == 2
