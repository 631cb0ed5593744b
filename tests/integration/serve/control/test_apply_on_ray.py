"""Changes through Ray Serve and HAProxy: variants, builds and adapters are added and removed under a steady load."""

import asyncio

import httpx
import psutil
import pytest

from tests.integration.serve.cluster.test_ray_environment import is_loopback, listeners
from tests.integration.serve.conftest import OnRay
from tests.support.family import ADAPTERS, change
from tests.support.live_load import steady
from tests.support.processes import words_of

pytestmark = pytest.mark.integration


async def test_nobody_notices_that_variants_come_and_go(on_ray: OnRay) -> None:
    url, pid, family = on_ray.url, on_ray.pid, on_ray.family
    async with httpx.AsyncClient(base_url=url, timeout=60) as client, steady(url, "echo", 6, ("baseline",)) as load:
        first = family.digest("int8")
        family.variants["int4"] = {"weight": 50}
        assert (await change(client, family.proposal()))["state"] == "done"
        family.builds["int8"] = 1
        assert (await change(client, family.proposal()))["state"] == "done"
        for number in range(3):
            family.variants[f"lora{number}"] = {"parent": "baseline", "engine": ADAPTERS}
            assert (await change(client, family.proposal()))["state"] == "done"
            body = {"model": f"echo@lora{number}", "prompt": "a b c", "max_tokens": 2}
            answer = await client.post("/v1/completions", json=body)
            assert answer.json()["system_fingerprint"] == family.digest(f"lora{number}")
        assert len(engines(pid)) == 4  # baseline, int8, int4, and one for all adapters
        for name in ("int4", "lora2", "lora1", "lora0"):
            del family.variants[name]
            assert (await change(client, family.proposal(force=True)))["state"] == "done"
        assert len(engines(pid)) == 2
        assert [pair for pair in listeners(pid) if not is_loopback(pair[0])] == []
        await asyncio.sleep(1)
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert load.statuses[200] > 200
    assert {("int8", first), ("int8", family.digest("int8"))} <= load.signed
    assert {"baseline", "int8", "int4"} == {variant for variant, _ in load.signed}


def engines(pid: int) -> list[psutil.Process]:
    """The engines of `echo`."""
    children = psutil.Process(pid).children(recursive=True)
    commands = [(child, words_of(child)) for child in children]
    return [
        child
        for child, words in commands
        if words[1:3] == ["-m", "serve.engines.scripted.engine"] and any(word.startswith("echo@") for word in words)
    ]


async def test_an_ingress_that_is_started_anew_serves_what_is_live_now(on_ray: OnRay) -> None:
    url, pid, family = on_ray.url, on_ray.pid, on_ray.family
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        family.variants["int4"] = {"weight": 50}
        assert (await change(client, family.proposal()))["state"] == "done"
        replica(pid, "ingress").kill()
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.5)
                try:
                    answer = await client.get("/v1/models")
                except httpx.TransportError:
                    continue
                if answer.status_code == 200 and any(m["id"] == "echo@int4" for m in answer.json()["data"]):
                    break


async def test_engines_whose_deployment_is_killed_start_anew_as_they_are_live_now(on_ray: OnRay) -> None:
    url, pid, family = on_ray.url, on_ray.pid, on_ray.family
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        family.variants["int4"] = {"weight": 50}
        assert (await change(client, family.proposal()))["state"] == "done"
        before = engines(pid)
        assert len(before) == 3
        replica(pid, "engines").kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, before, timeout=20)
        assert alive == []
        body = {"model": "echo@int4", "prompt": "a b c", "max_tokens": 2}
        async with asyncio.timeout(90):
            while (answer := await client.post("/v1/completions", json=body)).status_code != 200:
                await asyncio.sleep(0.5)
        assert answer.json()["system_fingerprint"] == family.digest("int4")
        del family.variants["int4"]
        assert (await change(client, family.proposal(force=True)))["state"] == "done"
        assert len(engines(pid)) == 2


def replica(pid: int, application: str) -> psutil.Process:
    """The process of a Ray Serve application's one replica."""
    (process,) = [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if " ".join(words_of(child)).startswith(f"ray::ServeReplica:{application}:")
    ]
    return process
