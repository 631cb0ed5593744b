"""Reads an engine's figures in the background, so that nobody who asks for its address waits for them."""

import asyncio
import logging
import time

import aiohttp

from serve.engines.figures import PATH, QUERY, Figures, read
from serve.engines.process import EngineProcess

log = logging.getLogger("understudy.engine")
EVERY_S = 2.0
LIMIT = aiohttp.ClientTimeout(total=5)


class FiguresReader:
    """Asks one engine at most every EVERY_S seconds. Requires a running event loop."""

    def __init__(self, engine: EngineProcess) -> None:
        self.engine, self.latest, self.failed = engine, Figures(), False
        self.begun = float("-inf")
        self.task: asyncio.Task[None] | None = None

    def take(self) -> Figures:
        """The latest figures, of which none is known where the engine did not answer. Begins to ask for the next ones
        when it is time."""
        if (self.task is None or self.task.done()) and time.monotonic() - self.begun > EVERY_S:
            self.begun = time.monotonic()
            self.task = asyncio.create_task(self.ask())
        return self.latest

    async def ask(self) -> None:
        """An engine that does not answer is told once; `Supervisor` looks after its health."""
        try:
            async with (
                aiohttp.ClientSession(timeout=LIMIT, headers=self.engine.headers, raise_for_status=True) as session,
                session.get(self.engine.url + PATH, params=QUERY) as answer,
            ):
                self.latest = read(await answer.text())
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if not self.failed:
                log.warning("the engine of %s does not tell its figures: %r", self.engine.name, error)
            self.latest, self.failed = Figures(), True
        else:
            self.failed = False

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
