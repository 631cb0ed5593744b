"""Engines share GPUs of Ray's that stand in for real ones. Each process sees the GPUs that Ray has given to it."""

from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from serve.config.resources import LogicalGpus
from tests.support.family import Family, change
from tests.support.processes import server, words_of

pytestmark = pytest.mark.integration
GPUS = 3


def seen_gpus(pid: int) -> dict[str, str]:
    """What each engine below the server finds in CUDA_VISIBLE_DEVICES, by variant."""
    seen = {}
    for child in psutil.Process(pid).children(recursive=True):
        words = words_of(child)
        if words[1:3] == ["-m", "serve.engines.scripted.engine"]:
            name = words[words.index("--name") + 1].removeprefix("echo@")
            seen[name] = child.environ().get("CUDA_VISIBLE_DEVICES", "")
    return seen


async def test_shares_serve_side_by_side_and_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    command = ("tests.support.serve_scripted", "{port}", "model=echo", f"logical_gpus={GPUS}")
    with server(tmp_path, *command) as (url, pid):
        family = Family(tmp_path, 8000)
        logical = family.base.server.model_copy(update={"logical_gpus": LogicalGpus(count=GPUS, memory_mib=24576)})
        family.base = family.base.model_copy(update={"server": logical})
        family.variants |= {"half": on(0.5), "other": on(0.5), "split": on(2)}
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            done = await change(client, family.proposal(force=True))
            assert done["state"] == "done", done
            for name in family.variants:
                body = {"model": f"echo@{name}", "prompt": "a b c", "max_tokens": 2}
                answer = await client.post("/v1/completions", json=body)
                assert answer.json()["system_fingerprint"] == family.digest(name)
            seen = seen_gpus(pid)
            assert len({seen["half"], seen["other"]}) == 1, "Ray fills a GPU before it takes the next"
            assert sorted([seen["half"], *seen["split"].split(",")]) == ["0", "1", "2"]
            assert seen["baseline"] == seen["int8"] == ""
            family.variants["third"] = on(0.3)
            refused = await client.post("/admin/v1/stack", json=family.proposal())
            assert refused.status_code == 400
            error = refused.json()["error"]
            assert (
                "0.5 (echo@half) + 0.5 (echo@other) + 2 (echo@split) + 0.3 (echo@third) is 3.3 of 3 GPUs"
                in (error["message"])
            )
            assert set(seen_gpus(pid)) == {"baseline", "int8", "half", "other", "split"}


def on(gpus: float) -> dict[str, Any]:
    return {"weight": 1, "engine": {"kind": "scripted", "resources": {"gpus": gpus}}}
