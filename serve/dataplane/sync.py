"""How an ingress and the controller keep in step: twice a second the ingress says what it serves and what is still
busy, and takes the version that is live where that is another one.

While the controller is away, the ingress serves on with what it has.
"""

import asyncio
import logging
import uuid
from contextlib import suppress
from typing import TypeVar

from serve.control.contract import ControllerClient, Heartbeat
from serve.dataplane.observations import Observations
from serve.dataplane.upstreams import Upstreams

log = logging.getLogger("understudy.sync")
T = TypeVar("T")
EVERY_S = 0.5
FIRST_LIMIT_S = 10.0
LAST_LIMIT_S = 2.0


class ControllerSync:
    """Keeps one set of upstreams in step."""

    def __init__(self, upstreams: Upstreams, controller: ControllerClient, observations: Observations) -> None:
        self.upstreams, self.controller, self.observations = upstreams, controller, observations
        self.name = uuid.uuid4().hex
        self.task: asyncio.Task[None] | None = None
        self.away = False

    async def start(self) -> None:
        """An ingress that is started later than the server must not begin with what was live then."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.once(), FIRST_LIMIT_S)
        self.task = asyncio.create_task(self.run())

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        with suppress(TimeoutError):  # what was seen since the last report, if the controller is still there
            await asyncio.wait_for(self.once(), LAST_LIMIT_S)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            try:
                await self.once()
            except Exception:  # a defect met once must not end the following for good
                log.exception("version %d stays for now", self.upstreams.snapshot.version)

    async def once(self) -> None:
        report = Heartbeat(
            self.name,
            self.upstreams.snapshot.version,
            frozenset(self.upstreams.busy()),
            self.upstreams.named_at(),
            self.observations.batch(),
        )
        try:
            snapshot = await self.controller.tell(report)
        except Exception as error:  # whatever Ray raises for a replica that is starting or gone
            if not self.away:
                log.warning("the controller is away, serving on with version %d: %s", report.version, error)
            self.away = True
            return
        self.away = False
        self.observations.acknowledge()
        if snapshot is not None:
            await self.upstreams.take(snapshot)
