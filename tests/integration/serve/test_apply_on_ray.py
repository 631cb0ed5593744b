"""The same through Ray Serve and HAProxy: a steady load, and variants, builds and adapters that come and go."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import psutil
import pytest

from tests.family import ADAPTERS, Family, change
from tests.integration.serve.test_loopback import is_loopback, listeners
from tests.live_load import steady
from tests.processes import server

pytestmark = pytest.mark.integration


class Running(NamedTuple):
    """A server on Ray, and the family that it serves."""

    url: str
    pid: int
    family: Family


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("home")
    with server(folder, "tests.serve_scripted", "{port}", "model=echo", "token_s=0.02") as (url, pid):
        yield Running(url, pid, Family(folder, 8000))


async def test_nobody_notices_that_variants_come_and_go(running: Running) -> None:
    url, pid, family = running
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
    commands = [(child, child.cmdline()) for child in children]
    return [
        child
        for child, words in commands
        if words[1:3] == ["-m", "serve.engines.scripted"] and any(word.startswith("echo@") for word in words)
    ]


async def test_an_ingress_that_is_started_anew_serves_what_is_live_now(running: Running) -> None:
    url, pid, family = running
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        family.variants["int4"] = {"weight": 50}
        assert (await change(client, family.proposal()))["state"] == "done"
        (ingress,) = [
            child
            for child in psutil.Process(pid).children(recursive=True)
            if child.cmdline()[0].startswith("ray::ServeReplica:ingress:")
        ]
        ingress.kill()
        async with asyncio.timeout(60):
            while True:
                await asyncio.sleep(0.5)
                try:
                    answer = await client.get("/v1/models")
                except httpx.TransportError:
                    continue
                if answer.status_code == 200 and any(m["id"] == "echo@int4" for m in answer.json()["data"]):
                    break
