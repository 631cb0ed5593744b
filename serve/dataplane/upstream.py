"""One variant in an ingress: whether it is ready, its endpoint, and its load from this ingress.

Each ingress counts its own requests and queue, because Ray Serve's limits count per caller and have no queue.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from serve import metrics, traces
from serve.config.snapshot import ServedVariant
from serve.dataplane.fair_queue import FairQueue, Holders, QueueFull
from serve.dataplane.outlier import Outlier
from serve.engines import cpu_priority
from serve.engines.endpoint import SAYS, Describe, Endpoint, EngineDown
from serve.errors import Overloaded
from variants.artifacts.manifest import Manifest
from variants.errors import IntegrityError

log = logging.getLogger("understudy.upstream")
REFRESH_S = 3.0
RETRY_S = 0.5
PROBE_S = 15.0
"""A variant that answered nothing for this time, and has no request, is asked by its deployment."""
ANSWER_LIMIT_S = 60.0
MISSED_S = 10.0
"""A variant keeps its priority for this time after a client named it."""


@dataclass
class Upstream:
    """`served` may be replaced by another that `fits` accepts. `down` is why there is no endpoint. It is ejected until
    `out_until`, in seconds of the monotonic clock. `answered_at`, on the same clock, is its last sign of health."""

    served: ServedVariant
    describe: Describe
    endpoint: Endpoint | None = None
    running: int = 0
    waiting: int = 0
    pinned_at: float | None = None
    down: EngineDown | None = field(default_factory=lambda: EngineDown("not asked yet", why="starting"))
    outlier: Outlier = field(default_factory=Outlier)
    out_until: float = 0.0
    suspected: bool = False
    answered_at: float = 0.0
    turn: FairQueue = field(init=False)
    doubt: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        limits = self.served.limits
        self.turn = FairQueue(limits.concurrency, limits.queue, limits.share)

    @property
    def name(self) -> str:
        return self.served.name

    @property
    def manifest(self) -> Manifest:
        return self.served.manifest

    @property
    def labels(self) -> tuple[str, str]:
        return self.served.model, self.served.variant

    @property
    def logged(self) -> dict[str, str]:
        return {"model": self.served.model, "variant": self.served.variant}

    def fits(self, wanted: ServedVariant) -> bool:
        """Whether this upstream can also serve `wanted`: same build, same engine, same limits; only the weight may
        differ."""
        return (self.served.engine, self.served.adapter, self.served.limits) == (
            wanted.engine,
            wanted.adapter,
            wanted.limits,
        )

    @property
    def idle(self) -> bool:
        return not self.running and not self.waiting

    @asynccontextmanager
    async def admitted(self, holders: Holders = ()) -> AsyncIterator[None]:
        """Wait for a place at the engine. Raises Overloaded when the queue is full, or when it becomes full and one of
        `holders` has more than its share of it."""
        self.waiting += 1
        queued = metrics.queued.labels(*self.labels)
        queued.inc()
        try:
            with traces.span("queue", variant=self.name):
                await self.turn.acquire(holders)
        except QueueFull:
            raise Overloaded(
                f"{self.name} has {self.running} requests running and {len(self.turn.waiters)} waiting",
                mend="try again after the time in Retry-After",
                retry_after_s=self.turn.retry_after_s(),
            ) from None
        finally:
            self.waiting -= 1
            queued.dec()
        self.running += 1
        running = metrics.running.labels(*self.labels)
        running.inc()
        try:
            await self.restore_priority()
            yield
        finally:
            self.running -= 1
            running.dec()
            self.turn.release(holders)

    def pinned(self) -> None:
        """Note the time at which a client named this variant."""
        self.pinned_at = time.time()

    @property
    def has_only_shadow_load(self) -> bool:
        """Whether only replays use this variant, so that its engine may run at low CPU priority."""
        lately = self.pinned_at is not None and time.time() - self.pinned_at < MISSED_S
        return (
            self.served.weight == 0
            and self.idle
            and not lately
            and self.served.adapter is None
            and cpu_priority.can_restore()
        )

    async def lower_priority(self) -> None:
        """Let the engine use only CPU time that other processes leave."""
        if self.endpoint is not None and not cpu_priority.is_lowered(self.endpoint.pid):
            await self.set_priority(cpu_priority.lower)

    async def restore_priority(self) -> None:
        """Give the engine its normal CPU priority, even if another process lowered it."""
        if self.endpoint is not None and cpu_priority.is_lowered(self.endpoint.pid):
            await self.set_priority(cpu_priority.restore)

    async def set_priority(self, how: Callable[[int], None]) -> None:
        """An OSError changes nothing; the next request tries again."""
        assert self.endpoint is not None
        try:
            await asyncio.to_thread(how, self.endpoint.pid)
        except OSError as error:
            log.warning("the priority of %s was not changed: %s", self.name, error)

    def lost(self) -> None:
        """A connection failed: not ready until the deployment, which is asked shortly, reports an endpoint."""
        self.take_out(EngineDown(f"the engine of {self.name} cannot be reached", why="unreachable"))
        self.doubt.set()

    def take_out(self, down: EngineDown) -> None:
        if self.endpoint is not None or (down.why != "starting" and str(down) != str(self.down)):
            said = down if down.why == "refused" else down.says
            log.warning("%s is not ready: %s", self.name, said, extra={**self.logged, "why": down.why})
        self.endpoint, self.down = None, down
        self.report()

    def suspect(self, eject: bool) -> None:
        """Its last requests failed: have the deployment ask the engine now. With `eject`, take it out for a pause."""
        self.suspected = True
        if eject:
            pause_s = self.outlier.pause_s()
            self.out_until = time.monotonic() + pause_s
            self.take_out(EngineDown(f"the last requests of {self.name} failed: out for {pause_s:g} s", why="failing"))
        self.doubt.set()

    def must_ask(self) -> bool:
        """Whether the deployment has to send the engine a request of its own."""
        return self.suspected or (self.idle and time.monotonic() - self.answered_at > PROBE_S)

    async def refresh(self) -> None:
        """Ask the deployment for the engine's endpoint; a failure means not ready."""
        ask = self.must_ask()
        try:
            endpoint = await asyncio.wait_for(self.describe(ask), timeout=ANSWER_LIMIT_S)
        except Exception as error:  # Ray raises many types for a replica that starts, stops or has ended
            self.take_out(down_of(error, self.name))
            return
        if ask:
            self.suspected, self.answered_at = False, time.monotonic()
        if time.monotonic() >= self.out_until:
            if self.endpoint is None:
                log.warning("%s is ready", self.name, extra=self.logged)
            self.endpoint, self.down = endpoint, None

    def report(self) -> None:
        """Set this upstream's gauges."""
        manifest = self.manifest
        metrics.weight.labels(*self.labels).set(self.served.weight)
        metrics.ready.labels(*self.labels).set(self.endpoint is not None)
        for why in SAYS:
            metrics.down.labels(*self.labels, why).set(self.down is not None and self.down.why == why)
        metrics.variant_info.labels(
            *self.labels,
            manifest.method,
            manifest.precision,
            self.served.engine.settings.kind,
            manifest.parent or "",
            manifest.digest,
        ).set(1)
        if self.endpoint is not None:
            metrics.memory.labels(*self.labels).set(self.endpoint.memory_bytes)
            metrics.peak_memory.labels(*self.labels).set(self.endpoint.peak_memory_bytes)
            metrics.restarts.labels(*self.labels).set(self.endpoint.restarts)

    async def follow(self) -> None:
        """Refresh every few seconds, and half a second after a failed connection, until cancelled."""
        while True:
            await self.refresh()
            self.report()
            with suppress(TimeoutError):
                await asyncio.wait_for(self.doubt.wait(), REFRESH_S if self.endpoint else RETRY_S)
            if self.doubt.is_set():
                self.doubt.clear()
                await asyncio.sleep(RETRY_S)  # the deployment may not have noticed the failure yet


def down_of(error: Exception, name: str) -> EngineDown:
    """Why a deployment gave no endpoint. Ray wraps the deployment's own error."""
    cause = getattr(error, "cause", error)
    if isinstance(cause, EngineDown):
        return cause
    if isinstance(cause, IntegrityError):
        return EngineDown(str(cause), why="damaged")
    if isinstance(error, TimeoutError):
        return EngineDown(f"the deployment of {name} did not answer within {ANSWER_LIMIT_S:g} s", why="hung")
    return EngineDown(f"{name}: {cause}", why="unreachable")
