"""Keeps one engine running: starts it, watches it, and starts it again after growing pauses.

An engine is down from the first sign of a fault on, and up again when it has answered a test request. `fault` says why
it is down. After a failure, the artifact is verified before each start. So a repaired artifact is served without a
restart of the server, and a damaged one is not served.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from serve.engines.endpoint import EngineDown
from serve.engines.probe import Probe
from serve.engines.process import EngineProcess
from serve.engines.turns import Turns
from variants.errors import IntegrityError, UnderstudyError

log = logging.getLogger("understudy.engine")


@dataclass(frozen=True)
class Times:
    """In seconds. `pause` doubles with each failed start up to `longest`. After `stable` in service it is forgotten."""

    pause: float = 5.0
    longest: float = 300.0
    watch: float = 2.0
    stable: float = 60.0
    fresh: float = 2.0


ATTEMPTS = 2
"""Starts in direct succession at first: the port may be taken between its choice and its use."""
STRIKES = 3
"""Health checks that fail one after the other before an engine is ended."""


class Supervisor:
    """One engine. `verify` raises IntegrityError for a damaged artifact; `doubted`: verify it before the first start.
    `restarted` is called after each start, before the engine is up. `restarts` counts starts after
    `begin`. Each start waits for one of `turns`."""

    def __init__(
        self, engine: EngineProcess, probe: Probe, verify: Callable[[], object],
        doubted: bool = False, restarted: Callable[[], object] = lambda: None, times: Times | None = None,
        turns: Turns | None = None,
    ) -> None:  # fmt: skip
        self.engine, self.probe, self.verify, self.doubted = engine, probe, verify, doubted
        self.restarted, self.times, self.turns = restarted, times or Times(), turns or Turns()
        self.fault: EngineDown | None = EngineDown(f"the engine of {engine.name} is starting", why="starting")
        self.unwell: EngineDown | None = None
        self.starts, self.strikes, self.restarts = 0, 0, 0
        self.up_since: float | None = None
        self.probed = float("-inf")
        self.probing = asyncio.Lock()
        self.broken = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Start the engine, twice if the first start fails, and keep it running. Does not raise its faults."""
        for _ in range(ATTEMPTS):
            await self.turns.run(self.start())
            if self.fault is None or self.fault.why == "damaged":
                break
        self.starts = int(self.fault is not None)
        self.task = asyncio.create_task(self.keep())

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        await self.engine.stop()

    def check(self) -> None:
        """Raises EngineDown while the engine is down."""
        if self.fault is None:
            try:
                self.engine.check()
            except EngineDown as error:
                self.broke(error)
        if fault := self.fault or self.unwell:
            raise fault

    async def ask(self) -> None:
        """Send the engine a test request, twice if the first one fails. Then it is down, and is started again. Raises
        EngineDown."""
        self.check()
        async with self.probing:
            if time.monotonic() - self.probed < self.times.fresh:
                return
            try:
                await self.twice(lambda: self.probe.ask(self.engine))
            except EngineDown as error:
                if self.fault is None:
                    self.broke(error)
                raise
            self.probed = time.monotonic()

    @staticmethod
    async def twice(ask: Callable[[], Awaitable[None]]) -> None:
        try:
            await ask()
        except EngineDown:
            await ask()

    def broke(self, fault: EngineDown) -> None:
        """Down from now on; the keeper starts it again."""
        log.warning("the engine of %s is down: %s", self.engine.name, fault.says)
        self.fault, self.doubted = fault, True
        self.broken.set()

    async def start(self) -> None:
        """One start, with a test request at its end; sets or clears `fault`."""
        try:
            if self.doubted:
                await asyncio.to_thread(self.verify)
            await self.engine.start()
            self.restarted()
            await self.twice(lambda: self.probe.ask(self.engine))
        except IntegrityError as error:
            self.fault = EngineDown(str(error), why="damaged")
        except EngineDown as error:
            self.fault = error
        except Exception as error:  # whoever keeps it running must go on, whatever its start raises
            if not isinstance(error, UnderstudyError | OSError):
                log.exception("the start of the engine of %s", self.engine.name)
            self.fault = EngineDown(f"the engine of {self.engine.name} could not be started: {error}", why="ended")
        else:
            self.fault, self.unwell, self.strikes = None, None, 0
            self.up_since = self.probed = time.monotonic()
            self.broken.clear()
            return
        self.doubted = True
        await self.engine.stop()

    async def keep(self) -> None:
        """Watch the engine while it is up, and start it again while it is down, until cancelled."""
        while True:
            if self.fault is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.broken.wait(), self.times.watch)
                await self.watch()
                continue
            await self.engine.stop()
            if self.up_since is not None and time.monotonic() - self.up_since > self.times.stable:
                self.starts = 0
            await asyncio.sleep(self.pause_s())
            self.starts, self.up_since = self.starts + 1, None
            self.restarts += 1
            await self.turns.run(self.start())

    def pause_s(self) -> float:
        """Before the next start: none after a long time in service."""
        if self.starts == 0:
            return 0.0
        return min(self.times.pause * 2.0 ** min(self.starts - 1, 16), self.times.longest)

    async def watch(self) -> None:
        """One health check. An engine whose process has ended is down for good; one that does not answer gets two more
        checks before it is ended, and no requests meanwhile."""
        if self.broken.is_set():
            return
        try:
            await self.engine.check_answers()
        except EngineDown as error:
            self.strikes += 1
            self.unwell = error  # from the first failure on, it gets no requests
            if not self.engine.running or self.strikes >= STRIKES:
                self.broke(error)
        else:
            self.unwell, self.strikes = None, 0
