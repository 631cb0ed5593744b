"""Synchronises an ingress with the controller. Twice a second the ingress sends a heartbeat with its version and its
busy upstreams, and takes the live snapshot if its version differs. Every `FIGURES_S` it takes the controller's figures.

While the controller does not answer, the ingress keeps its current snapshot.
"""

import asyncio
import logging
import time
import uuid
from contextlib import suppress

from serve.control.contract import ControllerClient, ControllerFigures, Heartbeat
from serve.dataplane.observations import Observations
from serve.dataplane.upstreams import Upstreams

log = logging.getLogger("understudy.sync")
EVERY_S = 0.5
FIGURES_S = 5.0
FIRST_LIMIT_S = 10.0
LAST_LIMIT_S = 2.0


class ControllerSync:
    """Synchronises one set of upstreams. `figures` are the latest of the controller, None before the first.
    `answered_at` is when it answered last, in seconds since the epoch, 0 before that."""

    def __init__(self, upstreams: Upstreams, controller: ControllerClient, observations: Observations) -> None:
        self.upstreams, self.controller, self.observations = upstreams, controller, observations
        self.name = uuid.uuid4().hex
        self.task: asyncio.Task[None] | None = None
        self.away = False
        self.figures: ControllerFigures | None = None
        self.answered_at = 0.0

    async def start(self) -> None:
        """Synchronise once first: an ingress that starts later than the server must not begin with an old snapshot."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.once(), FIRST_LIMIT_S)
        self.task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        with suppress(TimeoutError):  # send the last observations, if the controller still answers
            await asyncio.wait_for(self.once(), LAST_LIMIT_S)

    async def run(self) -> None:
        asked = float("-inf")
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
                if time.monotonic() - asked >= FIGURES_S and not self.away:
                    asked = time.monotonic()
                    await self.take_figures()
            except Exception:  # one unexpected error must not end the synchronisation
                log.exception("version %d stays in use", self.upstreams.snapshot.version)

    async def once(self) -> None:
        heartbeat = Heartbeat(
            self.name,
            self.upstreams.snapshot.version,
            frozenset(self.upstreams.busy()),
            self.upstreams.named_at(),
            self.observations.batch(),
        )
        try:
            snapshot = await self.controller.heartbeat(heartbeat)
        except Exception as error:  # Ray raises many types for a replica that starts or has ended
            if not self.away:
                log.warning("the controller does not answer, version %d stays in use: %s", heartbeat.version, error)
            self.away = True
            return
        self.away, self.answered_at = False, time.time()
        self.observations.acknowledge()
        if snapshot is not None:
            await self.upstreams.take(snapshot)

    async def take_figures(self) -> None:
        """Keep the figures of before if the controller does not answer."""
        try:
            self.figures = await self.controller.figures()
        except Exception as error:  # Ray raises many types for a replica that starts or has ended
            log.warning("the controller gives no figures: %s", error)
