"""A crowd that says nothing, or speaks slowly, closes the door for nobody else: the real server behind HAProxy."""

import asyncio
import gzip
import resource
import time
from urllib.parse import urlsplit

import httpx
import pytest

from tests.integration.serve.conftest import OnRay
from tests.support.long import long_only

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]
IDLE = 4100
SLACK_S = 20.0
"""For a busy machine, beyond the limits of 10 s, 30 s and 60 s."""
ASK = {"model": "echo", "prompt": "a b c d", "max_tokens": 4}


async def closed_after(url: str, sent: bytes, drip: bytes = b"") -> tuple[float, bytes]:
    """Seconds until the server closes a connection that sent `sent`, then `drip` every half second; and its answer."""
    at = urlsplit(url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port)
    began = time.perf_counter()
    writer.write(sent)

    async def go_on() -> None:
        while True:
            await asyncio.sleep(0.5)
            writer.write(drip)

    dripping = asyncio.create_task(go_on()) if drip else None
    try:
        answer = await reader.read()
    except ConnectionResetError:
        answer = b""
    if dripping is not None:
        dripping.cancel()
    writer.close()
    return time.perf_counter() - began, answer


async def test_idle_connections_close_no_door_and_end_soon(started_on_ray: OnRay) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    url = started_on_ray.url
    crowd = [asyncio.create_task(closed_after(url, b"")) for _ in range(IDLE)]
    await asyncio.sleep(2)
    async with httpx.AsyncClient(base_url=url, timeout=5) as client:
        for path in ("/v2/health/ready", "/metrics", "/v1/models"):
            assert (await client.get(path)).status_code == 200
        assert (await client.post("/v1/completions", json=ASK)).status_code == 200
    took = [seconds for seconds, _ in await asyncio.gather(*crowd)]
    assert max(took) < 10 + SLACK_S


async def test_a_slow_head_is_told_and_closed(started_on_ray: OnRay) -> None:
    took, answer = await closed_after(started_on_ray.url, b"GET /v1/models HTTP/1.1\r\n", b"a: b\r\n")
    assert took < 10 + SLACK_S
    assert b" 408 " in answer.splitlines()[0]


@long_only
async def test_a_slow_body_and_a_silent_connection_are_closed(started_on_ray: OnRay) -> None:
    url, head = started_on_ray.url, b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n"
    slow_body, rested = await asyncio.gather(
        closed_after(url, head + b"{"), closed_after(url, b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
    )
    assert 25 < slow_body[0] < 90 + SLACK_S  # the answer after 30 s, the end 60 s later
    assert b" 408 " in slow_body[1].splitlines()[0]
    assert b"nothing came for 30 s" in slow_body[1]
    assert 50 < rested[0] < 60 + SLACK_S
    assert b" 200 " in rested[1].splitlines()[0]


async def test_a_compressed_bomb_is_refused_while_others_stream(started_on_ray: OnRay) -> None:
    bomb = gzip.compress(b"[" * 32 * 2**20)
    asked = {**ASK, "max_tokens": 100, "ignore_eos": True, "stream": True}
    async with (
        httpx.AsyncClient(base_url=started_on_ray.url, timeout=60) as client,
        client.stream("POST", "/v1/completions", json=asked) as streamed,
    ):
        lines = streamed.aiter_lines()
        await anext(lines)
        refused = await client.post("/v1/completions", content=bomb, headers={"content-encoding": "gzip"})
        assert refused.status_code == 400
        assert "the JSON text has more than" in refused.json()["error"]["message"]
        last = [line async for line in lines if line][-1]
    assert last == "data: [DONE]"
