"""How soon a client that leaves frees its place: for `make bench-hostile`.

Clients of one variant take all of its places with long streams. One request more waits. Then a client closes its
connection, and the waiting request is answered. The time between the two, less what such a request takes alone, is the
time in which the place was freed.
"""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

import aiohttp
import numpy as np

from loadtest.errors import LoadError

LONG = {"prompt": "a b c d", "max_tokens": 2000, "ignore_eos": True, "stream": True}
"""It goes on until its client leaves, also on a slow machine: 40 s on the scripted engine of `make bench-hostile`."""
SHORT = {"prompt": "a b c d", "max_tokens": 1, "ignore_eos": True}
SETTLED_S = 0.2
"""After which a request that has no answer is taken to wait: alone it takes a tenth of that."""


@dataclass(frozen=True)
class Leaving:
    """Times in seconds of `n` clients that left, and the median of a request alone."""

    n: int
    median_s: float
    longest_s: float
    alone_s: float


async def measure_leaving(url: str, variant: str, places: int, rounds: int) -> Leaving:
    """Let a client leave `rounds` times. `places` is the variant's `limits.concurrency`. Raises LoadError where a
    request did not wait, or was refused."""
    alone, freed = [], []
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        for _ in range(rounds):
            began = time.perf_counter()
            await ask(session, url, variant)
            alone.append(time.perf_counter() - began)
        streams = [await open_stream(session, url, variant, number) for number in range(places)]
        for number in range(rounds):
            waiting = asyncio.create_task(ask(session, url, variant))
            await asyncio.sleep(SETTLED_S)
            if waiting.done():
                raise LoadError("a request did not wait, so its place was free", mend="give the variant's concurrency")
            began = time.perf_counter()
            streams[number % places].close()
            await waiting
            freed.append(time.perf_counter() - began)
            streams[number % places] = await open_stream(session, url, variant, places + number)
        for stream in streams:
            stream.close()
    return summary(alone, freed)


def summary(alone: Sequence[float], freed: Sequence[float]) -> Leaving:
    usual = float(np.median(alone))
    times = [max(0.0, each - usual) for each in freed]
    return Leaving(len(times), float(np.median(times)), max(times), usual)


async def open_stream(session: aiohttp.ClientSession, url: str, variant: str, number: int) -> aiohttp.ClientResponse:
    """A stream whose first token has come. Each is another client's, because one client may not take all places."""
    headers = {"x-understudy-client": f"leaving-{number}"}
    answer = await session.post(f"{url}/v1/completions", json=LONG | {"model": variant}, headers=headers)
    if answer.status != 200:
        raise LoadError(f"a stream was answered {answer.status}", mend="see the server's log")
    await answer.content.readline()
    return answer


async def ask(session: aiohttp.ClientSession, url: str, variant: str) -> None:
    async with session.post(f"{url}/v1/completions", json=SHORT | {"model": variant}) as answer:
        if answer.status != 200:
            raise LoadError(f"a request was answered {answer.status}", mend="see the server's log")
        await answer.read()
