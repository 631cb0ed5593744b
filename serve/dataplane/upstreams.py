"""The upstreams of an ingress: one for each variant of the live version, and earlier ones with unfinished requests.

The version changes while requests run. New upstreams get their endpoints before they get requests, then all change at
once, and old ones end with their last request. Requests go only to ready upstreams."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

from serve.config.capabilities import NOTHING, Lack, Needs, lack
from serve.config.snapshot import ServedVariant, Snapshot
from serve.config.stack import Model
from serve.dataplane.drain import Drain
from serve.dataplane.needs import check_needs, lacks_of
from serve.dataplane.plugin_tasks import kinds_of_plugin_tasks
from serve.dataplane.router import Assignment, Target, assign
from serve.dataplane.upstream import Upstream
from serve.engines.endpoint import Describe
from serve.errors import NotReady
from serve.protocols.hash_keys import HashKeys, hash_keys
from variants.errors import UnknownName
from variants.home import home
from variants.tasks import Tasks


class Upstreams:
    """All upstreams, by model and variant. `describe_for` returns the function that asks a variant's deployment."""

    def __init__(self, snapshot: Snapshot, describe_for: Callable[[ServedVariant], Describe]) -> None:
        self.snapshot = snapshot
        self.describe_for = describe_for
        self.by_model: dict[str, dict[str, Upstream]] = {}
        self.retired: list[Upstream] = []
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.asked_at: dict[str, float] = {}
        self.aliases = snapshot.stack.aliases
        self.drain = Drain()
        self.plugin_kinds = kinds_of_plugin_tasks()  # imports them: now, and not within a request

    @cached_property
    def hash_keys(self) -> HashKeys:
        """The keys of this server's hashes of clients and requests."""
        return hash_keys(home())

    @property
    def known_tasks(self) -> Tasks:
        """The tasks that the labels of requests may name."""
        return self.snapshot.stack.all_tasks

    def kind_of(self, task: str | None) -> str:
        """The kind of a task of the stack file or of a plug-in, by which generated answers are scored; else "text"."""
        if own := self.snapshot.stack.tasks.get(task or ""):
            return own.kind
        return self.plugin_kinds.get(task or "") or "text"

    def label_of(self, task: str | None, label: str | None) -> str | None:
        """The label that an answer is scored by. For a task with a JSON schema it is that one, whatever was sent. None
        for a task whose plug-in cannot be used: no answer is scored by it."""
        if self.plugin_kinds.get(task or "", "text") is None:
            return None
        own = self.snapshot.stack.tasks.get(task or "")
        return own.schema_text if own and own.schema_ is not None and label is not None else label

    @property
    def models(self) -> Mapping[str, Model]:
        return self.snapshot.stack.models

    def all(self) -> list[Upstream]:
        return [upstream for of_model in self.by_model.values() for upstream in of_model.values()]

    def start(self) -> None:
        """Begin to refresh every upstream. Requires a running event loop."""
        self.change(self.snapshot, self.upstreams_for(self.snapshot))

    async def take(self, snapshot: Snapshot) -> None:
        """Serve another version. When this returns, all new requests are assigned by it."""
        by_model = self.upstreams_for(snapshot)
        known = set(map(id, self.all()))
        fresh = [
            upstream for of_model in by_model.values() for upstream in of_model.values() if id(upstream) not in known
        ]
        await asyncio.gather(*(upstream.refresh() for upstream in fresh))
        self.change(snapshot, by_model)

    def upstreams_for(self, snapshot: Snapshot) -> dict[str, dict[str, Upstream]]:
        """The upstreams of a version: existing ones where they fit, otherwise new ones."""
        return {
            name: {variant: self.upstream_for(snapshot.variants[name, variant]) for variant in model.variants}
            for name, model in snapshot.stack.models.items()
        }

    def upstream_for(self, wanted: ServedVariant) -> Upstream:
        existing = self.by_model.get(wanted.model, {}).get(wanted.variant)
        if existing is not None and existing.fits(wanted):
            return existing
        pinned_at = existing.pinned_at if existing is not None else None
        return Upstream(wanted, self.describe_for(wanted), pinned_at=pinned_at)

    def change(self, snapshot: Snapshot, by_model: dict[str, dict[str, Upstream]]) -> None:
        before = self.all()
        self.snapshot, self.by_model, self.aliases = snapshot, by_model, snapshot.stack.aliases
        for upstream in self.all():
            upstream.served = snapshot.variants[upstream.labels]
            upstream.report()
            if id(upstream) not in self.tasks:
                self.tasks[id(upstream)] = asyncio.create_task(upstream.follow())
        kept = set(map(id, self.all()))
        for upstream in before:
            if id(upstream) not in kept:
                self.tasks.pop(id(upstream)).cancel()
                self.retired.append(upstream)

    async def stop(self) -> None:
        for task in self.tasks.values():
            task.cancel()
        for task in self.tasks.values():
            with suppress(asyncio.CancelledError):
                await task
        self.tasks.clear()

    @property
    def ready(self) -> bool:
        """Whether every model is ready."""
        return bool(self.by_model) and all(map(self.model_ready, self.by_model))

    def model_ready(self, model: str) -> bool:
        """Whether a variant with a weight above 0 is ready, and this server is not stopping."""
        return not self.drain.begun and any(
            upstream.endpoint is not None and upstream.served.weight > 0 for upstream in self.by_model[model].values()
        )

    def readiness(self) -> dict[str, Any]:
        """The body of `/v2/health/ready`: of the server, of each model, and why a variant is down. Clients without a
        key may read it, so it has no logs and no paths."""
        models = {
            model: {
                "ready": self.model_ready(model),
                "down": {variant: upstream.down.says for variant, upstream in of_model.items() if upstream.down},
            }
            for model, of_model in self.by_model.items()
        }
        return {"ready": self.ready, "stopping": self.drain.begun, "models": models}

    def busy(self) -> set[str]:
        """The places (`ServedVariant.place`) that still answer requests of an earlier version."""
        self.retired = [upstream for upstream in self.retired if not upstream.idle]
        return {upstream.served.place for upstream in self.retired}

    def named_at(self) -> dict[str, float]:
        """The last time a client named each model, alias and variant, in seconds of the epoch."""
        return self.asked_at | {
            upstream.name: upstream.pinned_at for upstream in self.all() if upstream.pinned_at is not None
        }

    def resolved(self, target: Target) -> Target:
        """The same target by its model's own name, where the client used an alias."""
        if target.model not in self.aliases:
            return target
        self.asked_at[target.model] = time.time()
        return replace(target, model=self.aliases[target.model])

    def model(self, name: str) -> dict[str, Upstream]:
        """The upstreams of a model. Raises UnknownName."""
        if name not in self.by_model:
            raise UnknownName(
                f"there is no model {name!r}", field="model", mend=f"models are {', '.join(self.by_model)}"
            )
        return self.by_model[name]

    def place(
        self, target: Target, client: str | None, excluding: set[str], needs: Needs = NOTHING
    ) -> tuple[Upstream, Assignment]:
        """Choose an upstream outside `excluding` that has all of `needs`; with exclusions, the reason is `fallback`.

        Raises UnknownName, NotReady. Raises InputError where no variant that may answer has all of `needs`."""
        of_model = self.model(target.model)
        self.asked_at[target.model] = time.time()
        up = {name for name, upstream in of_model.items() if upstream.endpoint is not None and name not in excluding}
        served = {name: upstream.served for name, upstream in of_model.items()}
        lacks = lacks_of(served, needs)
        check_needs(target, served, lacks, self.pin_of(target.model, client))
        assignment = self.assign(target, client, up, lacks)
        if assignment is None:
            wanted = f"{target.model}@{target.variant}" if target.variant else target.model
            raise NotReady(f"no variant that may answer for {wanted!r} is ready", mend="try again shortly")
        if excluding:
            assignment = replace(assignment, reason="fallback")
        upstream = of_model[assignment.variant]
        if target.build:
            self.check_build(upstream, target.build)
        return upstream, assignment

    def preferred(self, target: Target, client: str | None, needs: Needs = NOTHING) -> tuple[Upstream, Assignment]:
        """The upstream that would answer if all were ready. Raises UnknownName."""
        of_model = self.model(target.model)
        lacks = lacks_of({name: upstream.served for name, upstream in of_model.items()}, needs)
        assignment = self.assign(target, client, of_model, lacks)
        assert assignment is not None  # some variant that can answer has a weight: `place` has checked it
        return of_model[assignment.variant], assignment

    def unable(self, model: str, needs: Needs) -> list[str]:
        """The digests of a model's artifacts that cannot answer a request with these needs."""
        of_model = self.model(model).values()
        return [each.manifest.digest for each in of_model if lack(each.served.capabilities, needs)]

    def assign(
        self, target: Target, client: str | None, up: Collection[str], lacks: Mapping[str, Lack | None]
    ) -> Assignment | None:
        of_model = self.by_model[target.model]
        weights = {name: upstream.served.weight for name, upstream in of_model.items()}
        sticky, pin = self.snapshot.traffic[target.model].traffic.sticky, self.pin_of(target.model, client)
        unable = [name for name in weights if lacks[name]]
        return assign(target, weights, up, client if sticky else None, pin, unable, self.hash_keys.assign)

    def pin_of(self, model: str, client: str | None) -> str | None:
        """The variant that the model's traffic gives to this client; None for a client without a pin."""
        return self.snapshot.traffic[model].traffic.pins.get(client) if client else None

    def note(self, upstream: Upstream, failed: bool) -> None:
        """Note the result of a request to an engine. Failures in a row eject the variant, if another variant with a
        weight above 0 can answer."""
        if not failed:
            upstream.answered_at = time.monotonic()
        if upstream.outlier.note(failed):
            others = self.by_model.get(upstream.served.model, {}).values()
            upstream.suspect(
                eject=any(other is not upstream and other.endpoint and other.served.weight > 0 for other in others)
            )

    def all_up(self, model: str) -> bool:
        """Whether every variant with a weight above 0 is ready."""
        return all(
            upstream.endpoint is not None for upstream in self.by_model[model].values() if upstream.served.weight > 0
        )

    @staticmethod
    def check_build(upstream: Upstream, build: str) -> None:
        """Raises UnknownName unless the digest of the live artifact starts with `build`."""
        if not upstream.manifest.digest.startswith(build):
            raise UnknownName(
                f"build {build!r} of {upstream.name} is not served",
                field="model",
                mend=f"the build that is live is {upstream.manifest.digest[:8]}",
            )
