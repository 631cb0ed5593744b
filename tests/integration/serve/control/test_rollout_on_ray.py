"""A rollout through Ray Serve and HAProxy, during which its controller, its variant and its ingress are killed."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import psutil
import pytest

from serve.control.state import ControlState
from tests.integration.serve.conftest import OnRay
from tests.integration.serve.control.test_apply_on_ray import engines
from tests.integration.serve.control.test_rollout import GUARD, ROLLOUT, plan
from tests.support.family import change
from tests.support.labelled_load import labelled
from tests.support.processes import words_of

pytestmark = pytest.mark.integration
LIMIT_S = 180.0


async def test_what_is_decided_and_counted_outlives_those_who_did(on_ray: OnRay) -> None:
    url, pid, family = on_ray.url, on_ray.pid, on_ray.family
    engine = {"kind": "scripted"}
    family.variants = {"baseline": {"weight": 1, "engine": engine}, "int8": {"parent": "baseline", "engine": engine}}
    async with asyncio.timeout(LIMIT_S), httpx.AsyncClient(base_url=url, timeout=60) as client:
        async with labelled(url, "echo", 3) as load:
            assert (await change(client, family.proposal(force=True)))["state"] == "done"
            slow = plan(hold_s=5.0, gate={"quality": 0.05, "guard": GUARD})
            assert (await client.post(ROLLOUT, json=slow)).status_code == 200
            refused = await client.post(f"{ROLLOUT}/hasten")
            assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_request")
            before = await compared(client, 30)
            kill(pid, "ray::ServeReplica:controller:")
            after = await compared(client, before["pairs"]["compared"] + 10)
            assert after["rollout"]["digests"] == before["rollout"]["digests"]
            assert (await client.post(f"{ROLLOUT}/pause")).status_code == 200
            next(e for e in engines(pid) if "echo@int8" in words_of(e)).kill()
            after = await compared(client, after["pairs"]["compared"] + 10)
            assert set(load.statuses) == {200}
            load.stopping = True
            kill(pid, "ray::ServeReplica:ingress:")
        assert (await rollout(client))["pairs"]["compared"] >= after["pairs"]["compared"]
        async with labelled(url, "echo", 3) as load:
            await compared(client, after["pairs"]["compared"] + 10)
            assert (await client.post(f"{ROLLOUT}/resume")).status_code == 200
            while (answer := await rollout(client))["rollout"]["status"] == "running":
                await asyncio.sleep(0.5)
        assert set(load.statuses) == {200}
        entries = (await client.get("/admin/v1/journal?last=10000")).json()["entries"]
    assert answer["rollout"]["status"] == "promoted"
    assert len({entry["epoch"] for entry in entries}) == 2
    steps = [entry["rollout"]["step"] for entry in entries if entry["kind"] == "rollout"]
    assert list(dict.fromkeys(steps)) == [0, 1, 2, 3]
    assert steps == sorted(steps)
    state = ControlState.read(entries)
    counted = sum(
        len(shadowed["pairs"])
        for entry in entries
        if entry["kind"] == "outcomes"
        for shadowed in entry["models"].get("echo", {}).get("shadows", {}).values()
    )
    assert state.pair(state.rollouts["echo"].pair).compared == counted >= answer["pairs"]["compared"]


async def rollout(client: httpx.AsyncClient) -> dict[str, Any]:
    """Ask until the controller answers. A request can fail because its ingress was killed."""
    while True:
        with suppress(httpx.TransportError):
            answer = await client.get(ROLLOUT)
            if answer.status_code == 200:
                return dict(answer.json())
        await asyncio.sleep(0.3)


async def compared(client: httpx.AsyncClient, pairs: int) -> dict[str, Any]:
    while (answer := await rollout(client))["pairs"]["compared"] < pairs:
        await asyncio.sleep(0.2)
    return answer


def kill(pid: int, name: str) -> None:
    (process,) = [
        child for child in psutil.Process(pid).children(recursive=True) if " ".join(words_of(child)).startswith(name)
    ]
    process.kill()
