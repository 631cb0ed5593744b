"""What an ingress knows of the variants behind it: where each answers, whether it is ready, how busy it is.

The ingress asks each variant's deployment for its endpoint every few seconds, and half a second after a connection
failed, and routes among those that are ready. Admission is counted here, in each ingress: Ray Serve's own queue limits
count per caller and know no waiting room.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from serve import metrics
from serve.errors import NotReady, Overloaded
from serve.router import Assignment, Target, assign
from serve.stack import Limits, Model, Stack
from variants.errors import UnknownName
from variants.manifest import Manifest

log = logging.getLogger("understudy.fleet")
REFRESH_S = 3.0
RETRY_S = 0.5


class Endpoint(NamedTuple):
    """Where an engine answers, and what it holds in memory (PSS of its process tree, bytes)."""

    url: str
    memory_bytes: int
    peak_memory_bytes: int


Describe = Callable[[], Awaitable[Endpoint]]
"""Asks a variant's deployment; raises while there is none to ask."""


@dataclass
class Seat:
    """One variant as this ingress sees it."""

    model: str
    variant: str
    weight: float
    engine: str
    limits: Limits
    manifest: Manifest
    describe: Describe
    endpoint: Endpoint | None = None
    running: int = 0
    waiting: int = 0
    turn: asyncio.Semaphore = field(init=False)
    doubt: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.turn = asyncio.Semaphore(self.limits.concurrency)

    @property
    def name(self) -> str:
        return f"{self.model}@{self.variant}"

    @asynccontextmanager
    async def admitted(self) -> AsyncIterator[None]:
        """Wait for a turn at the engine. Raises Overloaded when the waiting room is full."""
        if self.turn.locked() and self.waiting >= self.limits.queue:
            raise Overloaded(
                f"{self.name} has {self.running} requests running and {self.waiting} waiting",
                mend="try again after the time in Retry-After",
            )
        labels = (self.model, self.variant)
        self.waiting += 1
        metrics.queued.labels(*labels).set(self.waiting)
        try:
            await self.turn.acquire()
        finally:
            self.waiting -= 1
            metrics.queued.labels(*labels).set(self.waiting)
        self.running += 1
        metrics.running.labels(*labels).set(self.running)
        try:
            yield
        finally:
            self.running -= 1
            metrics.running.labels(*labels).set(self.running)
            self.turn.release()

    def lost(self) -> None:
        """A connection failed: not ready until its deployment, asked at once, says otherwise."""
        self.endpoint = None
        self.doubt.set()

    async def refresh(self) -> None:
        """Ask the deployment where the engine is; a failure means not ready."""
        try:
            self.endpoint = await asyncio.wait_for(self.describe(), timeout=30)
        except Exception as error:  # whatever Ray raises for a replica that is starting, dying or gone
            if self.endpoint is not None:
                log.warning("%s is not ready: %s", self.name, error)
            self.endpoint = None
        labels = (self.model, self.variant)
        metrics.ready.labels(*labels).set(self.endpoint is not None)
        if self.endpoint is not None:
            metrics.memory.labels(*labels).set(self.endpoint.memory_bytes)
            metrics.peak_memory.labels(*labels).set(self.endpoint.peak_memory_bytes)


class Fleet:
    """All seats of a stack, by model and variant."""

    def __init__(
        self,
        stack: Stack,
        manifests: Mapping[tuple[str, str], Manifest],
        describes: Mapping[tuple[str, str], Describe],
    ) -> None:
        self.models: Mapping[str, Model] = stack.models
        self.seats = {
            model_name: {
                variant_name: Seat(
                    model=model_name,
                    variant=variant_name,
                    weight=variant.weight,
                    engine=variant.engine.kind,
                    limits=model.limits,
                    manifest=manifests[model_name, variant_name],
                    describe=describes[model_name, variant_name],
                )
                for variant_name, variant in model.variants.items()
            }
            for model_name, model in stack.models.items()
        }
        self.tasks: list[asyncio.Task[None]] = []

    def all(self) -> list[Seat]:
        return [seat for seats in self.seats.values() for seat in seats.values()]

    def start(self) -> None:
        """Begin to follow every variant. Call from a running event loop."""
        for seat in self.all():
            manifest, labels = seat.manifest, (seat.model, seat.variant)
            metrics.weight.labels(*labels).set(seat.weight)
            metrics.variant_info.labels(
                *labels,
                manifest.method,
                manifest.precision,
                seat.engine,
                manifest.parent or "",
                manifest.digest,
            ).set(1)
            self.tasks.append(asyncio.create_task(self.follow(seat)))

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        for task in self.tasks:
            with suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()

    @staticmethod
    async def follow(seat: Seat) -> None:
        while True:
            await seat.refresh()
            with suppress(TimeoutError):
                await asyncio.wait_for(seat.doubt.wait(), REFRESH_S if seat.endpoint else RETRY_S)
            if seat.doubt.is_set():
                seat.doubt.clear()
                await asyncio.sleep(RETRY_S)  # the deployment may not have noticed yet either

    @property
    def ready(self) -> bool:
        return all(seat.endpoint for seat in self.all())

    def model(self, name: str) -> dict[str, Seat]:
        """The seats of a model. Raises UnknownName."""
        if name not in self.seats:
            raise UnknownName(f"there is no model {name!r}", field="model", mend=f"models are {', '.join(self.seats)}")
        return self.seats[name]

    def place(self, target: Target, client: str | None, excluding: set[str]) -> tuple[Seat, Assignment]:
        """Choose who answers. Raises UnknownName, NotReady."""
        seats = self.model(target.model)
        weights = {name: seat.weight for name, seat in seats.items()}
        up = {name for name, seat in seats.items() if seat.endpoint is not None and name not in excluding}
        assignment = assign(target, weights, up, client)
        if assignment is None:
            wanted = f"{target.model}@{target.variant}" if target.variant else target.model
            raise NotReady(f"no variant that may answer for {wanted!r} is ready", mend="try again shortly")
        seat = seats[assignment.variant]
        if target.build:
            self.check_build(seat, target.build)
        return seat, assignment

    @staticmethod
    def check_build(seat: Seat, build: str) -> None:
        """Raises UnknownName unless `build` begins the digest of the artifact that is live."""
        if not seat.manifest.digest.startswith(build):
            raise UnknownName(
                f"build {build!r} of {seat.name} is not served",
                field="model",
                mend=f"the build that is live is {seat.manifest.digest[:8]}",
            )
