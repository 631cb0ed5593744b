"""What an ingress serves: a seat for every variant of the version that is live, and those of the one before that still
have requests to finish.

Another version is taken while requests flow: new seats are asked where they are before anyone is sent there, then all
change at once, and old ones end with their last request. Routes among those that are ready.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace

from serve.config.snapshot import ServedVariant, Snapshot
from serve.config.stack import Model
from serve.dataplane.router import Assignment, Target, assign
from serve.dataplane.upstream import Upstream
from serve.engines.endpoint import Describe
from serve.errors import NotReady
from variants.errors import UnknownName


class Upstreams:
    """All seats, by model and variant. `describe_for` gives the way to ask a variant's deployment."""

    def __init__(self, live: Snapshot, describe_for: Callable[[ServedVariant], Describe]) -> None:
        self.live = live
        self.describe_for = describe_for
        self.seats: dict[str, dict[str, Upstream]] = {}
        self.retired: list[Upstream] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.asked_at: dict[str, float] = {}

    @property
    def models(self) -> Mapping[str, Model]:
        return self.live.stack.models

    def all(self) -> list[Upstream]:
        return [seat for seats in self.seats.values() for seat in seats.values()]

    def start(self) -> None:
        """Begin to follow every variant. Call from a running event loop."""
        self.change(self.live, self.seats_for(self.live))

    async def take(self, live: Snapshot) -> None:
        """Serve another version. Returns when every request is placed by it."""
        seats = self.seats_for(live)
        standing = set(map(id, self.all()))
        fresh = [seat for found in seats.values() for seat in found.values() if id(seat) not in standing]
        await asyncio.gather(*(seat.refresh() for seat in fresh))
        self.change(live, seats)

    def seats_for(self, live: Snapshot) -> dict[str, dict[str, Upstream]]:
        """The seats of a version: those that stand where they fit, new ones elsewhere."""
        return {
            model: {variant: self.seat_for(live.variants[model, variant]) for variant in found.variants}
            for model, found in live.stack.models.items()
        }

    def seat_for(self, wanted: ServedVariant) -> Upstream:
        standing = self.seats.get(wanted.model, {}).get(wanted.variant)
        if standing is not None and standing.fits(wanted):
            return standing
        pinned_at = standing.pinned_at if standing is not None else None
        return Upstream(wanted, self.describe_for(wanted), pinned_at=pinned_at)

    def change(self, live: Snapshot, seats: dict[str, dict[str, Upstream]]) -> None:
        before = self.all()
        self.live, self.seats = live, seats
        for seat in self.all():
            seat.live = live.variants[seat.labels]
            seat.report()
            if id(seat) not in self.tasks:
                self.tasks[id(seat)] = asyncio.create_task(seat.follow())
        kept = set(map(id, self.all()))
        for seat in before:
            if id(seat) not in kept:
                self.tasks.pop(id(seat)).cancel()
                self.retired.append(seat)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        for task in self.tasks.values():
            with suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()

    @property
    def ready(self) -> bool:
        return bool(self.seats) and all(seat.endpoint for seat in self.all())

    def busy(self) -> set[str]:
        """The places (`ServedVariant.place`) where requests that an earlier version placed are still being answered."""
        self.retired = [seat for seat in self.retired if not seat.idle]
        return {seat.live.place for seat in self.retired}

    def named_at(self) -> dict[str, float]:
        """When a client last named each model, and each variant, in seconds of the epoch."""
        return self.asked_at | {seat.name: seat.pinned_at for seat in self.all() if seat.pinned_at is not None}

    def model(self, name: str) -> dict[str, Upstream]:
        """The seats of a model. Raises UnknownName."""
        if name not in self.seats:
            raise UnknownName(f"there is no model {name!r}", field="model", mend=f"models are {', '.join(self.seats)}")
        return self.seats[name]

    def place(self, target: Target, client: str | None, excluding: set[str]) -> tuple[Upstream, Assignment]:
        """Choose who answers; whoever does in place of one that is `excluding` is a fallback. Raises UnknownName,
        NotReady."""
        seats = self.model(target.model)
        self.asked_at[target.model] = time.time()
        up = {name for name, seat in seats.items() if seat.endpoint is not None and name not in excluding}
        assignment = self.assign(target, client, up)
        if assignment is None:
            wanted = f"{target.model}@{target.variant}" if target.variant else target.model
            raise NotReady(f"no variant that may answer for {wanted!r} is ready", mend="try again shortly")
        if excluding:
            assignment = replace(assignment, reason="fallback")
        seat = seats[assignment.variant]
        if target.build:
            self.check_build(seat, target.build)
        return seat, assignment

    def preferred(self, target: Target, client: str | None) -> tuple[Upstream, Assignment]:
        """Who would answer if all were ready. Raises UnknownName."""
        seats = self.model(target.model)
        assignment = self.assign(target, client, seats)
        assert assignment is not None  # some variant has a weight
        return seats[assignment.variant], assignment

    def assign(self, target: Target, client: str | None, up: Collection[str]) -> Assignment | None:
        weights = {name: seat.live.weight for name, seat in self.seats[target.model].items()}
        traffic = self.live.traffic[target.model].traffic
        pin = traffic.pins.get(client) if client else None
        return assign(target, weights, up, client if traffic.sticky else None, pin)

    def all_up(self, model: str) -> bool:
        """Whether every variant with a share of the traffic is ready."""
        return all(seat.endpoint is not None for seat in self.seats[model].values() if seat.live.weight > 0)

    @staticmethod
    def check_build(seat: Upstream, build: str) -> None:
        """Raises UnknownName unless `build` begins the digest of the artifact that is live."""
        if not seat.manifest.digest.startswith(build):
            raise UnknownName(
                f"build {build!r} of {seat.name} is not served",
                field="model",
                mend=f"the build that is live is {seat.manifest.digest[:8]}",
            )
