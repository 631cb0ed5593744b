"""A supervisor over a real engine process, with pauses that are short enough for tests."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from serve.engines.supervisor import Supervisor, Times

QUICK = Times(pause=0.2, longest=0.8, watch=0.1, stable=3600, fresh=0)
LIMIT_S = 60


@asynccontextmanager
async def begun(supervisor: Supervisor) -> AsyncIterator[Supervisor]:
    try:
        await supervisor.begin()
        yield supervisor
    finally:
        await supervisor.end()


async def until(is_so: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
    async with asyncio.timeout(limit_s):
        while not is_so():
            await asyncio.sleep(0.05)
