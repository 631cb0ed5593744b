"""The controller: the only writer of the snapshot that is served.

A proposal names a whole stack and the key of every variant's artifact. The controller refuses it at once if it is
wrong, needs too much memory, or removes a variant in use (`serve.control.proposal`). Otherwise the change has four
steps. Nothing that is served changes before the second:

    starting   new engines start and new adapters load beside the old ones
    recording  the snapshot is on disk, so that a restarted controller continues with it
    switching  every ingress takes the snapshot (`serve.dataplane.sync`); open requests stay at their engines
    draining   old engines and adapters are removed after their last request

A sweep removes engines and adapters that the snapshot does not name. It runs after every change, and when a controller
starts, because the one before it may have died during a change.

A change of traffic needs no such steps: `serve.control.traffic_manager` decides, and every ingress takes the next
snapshot. Uses no HTTP, and Ray Serve only through `serve.cluster.deployer`."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from serve import logs
from serve.cluster.deployer import EngineDeployer
from serve.config.placement import gpus_for
from serve.config.snapshot import Snapshot
from serve.control.change import Change, Changes
from serve.control.checkpoint import compact_beside, is_due
from serve.control.contract import ControllerFigures, Heartbeat
from serve.control.diff import differences, server_differences
from serve.control.heartbeats import Heartbeats
from serve.control.journal import Entry
from serve.control.memory_budget import Budget, budget, need_of
from serve.control.proposal import (
    Proposal,
    check_engines,
    check_exposure,
    check_slots,
    check_unused,
    read_proposal,
    version_of,
)
from serve.control.records.declared import DeclaredRollouts, describe_declared
from serve.control.records.figures import figures
from serve.control.records.webhook import Webhooks
from serve.control.rollout import read_plan
from serve.control.snapshot_file import LIVE, document_of, record, recorded
from serve.control.traffic_manager import TrafficManager
from serve.errors import Conflict, NotReady
from variants.artifacts.store import Store
from variants.errors import EngineError, StoreFull
from variants.home import home

log = logging.getLogger("understudy.controller")
POLL_S = 0.1
JUDGE_S = 1.0
FOLLOW_LIMIT_S = 10.0
SWITCH_LIMIT_S = 120.0
DRAIN_GRACE_S = 10.0


class Controller:
    """A Ray Serve deployment of one replica. `folder` is for this run of the server, `state` for all its runs."""

    def __init__(self, snapshot: Snapshot, folder: str, state: str, deployer: EngineDeployer | None = None) -> None:
        self.file = Path(folder) / LIVE
        self.deployer = deployer or EngineDeployer()
        self.traffic_manager = TrafficManager(Path(state), recorded(self.file) or snapshot)
        self.declared = DeclaredRollouts(self.begin_rollout)
        self.webhooks = Webhooks(self.traffic_manager.journal.opened)
        self.ticking: asyncio.Task[None] | None = None
        self.heartbeats, self.changes = Heartbeats(), Changes()
        self.task: asyncio.Task[Any] | None = None
        self.deploy_lock = asyncio.Lock()
        self.swept = False
        self.sweeping: asyncio.Task[None] | None = None
        self.compacting: asyncio.Task[None] | None = None
        self.memory_bytes: dict[str, int] = {}
        self.files = ExitStack()
        self.hold_files()

    @property
    def snapshot(self) -> Snapshot:
        return self.traffic_manager.snapshot

    async def heartbeat(self, heartbeat: Heartbeat) -> Snapshot | None:
        """Note a heartbeat and record its outcomes. Gives the current snapshot, or None if the ingress has it."""
        if self.ticking is None:
            self.ticking = asyncio.create_task(self.tick())
        self.heartbeats.note(heartbeat)
        current = heartbeat.version == self.snapshot.version
        if heartbeat.observations is not None:
            try:
                self.traffic_manager.count(heartbeat.ingress, heartbeat.observations)
            except StoreFull:
                if current:
                    raise
                self.traffic_manager.count_when_possible(heartbeat.ingress, heartbeat.observations)
        return None if current else self.snapshot

    async def figures(self) -> ControllerFigures:
        """Raises OSError if the journal cannot be read."""
        return figures(self.traffic_manager, self.heartbeats)

    async def tick(self) -> None:
        """Every second, judge the rollouts and tell of verdicts. Begin what is due: rollouts, a checkpoint, a sweep."""
        while True:
            await asyncio.sleep(JUDGE_S)
            self.traffic_manager.judge_all()
            self.declared.begin_due(self.snapshot, self.traffic_manager.state.history)
            self.webhooks.tell(self.snapshot.stack.server.webhook, self.traffic_manager.state.history)
            self.compact_if_due()
            if not (self.swept or self.changes.open or self.deploy_lock.locked()):
                self.sweeping = asyncio.create_task(self.sweep_beside())

    def compact_if_due(self) -> None:
        """Begin a checkpoint of the journal if enough counts have come, unless one is being made."""
        manager = self.traffic_manager
        if is_due(manager.journal) and not manager.unwritten and (self.compacting is None or self.compacting.done()):
            self.compacting = asyncio.create_task(compact_beside(manager.journal, manager.state))

    async def traffic(self, model: str) -> dict[str, Any]:
        return self.traffic_manager.traffic_of(model)

    async def set_traffic(
        self, model: str, document: dict[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        return await self.followed(self.traffic_manager.set_traffic(model, document, version, who, why))

    async def rollout(self, model: str) -> dict[str, Any]:
        return self.traffic_manager.rollout_of(model)

    async def rollouts(self, model: str) -> dict[str, Any]:
        return self.traffic_manager.rollouts_of(model)

    async def rollout_document(self, model: str, name: str) -> dict[str, Any]:
        return self.traffic_manager.rollout_document(model, name)

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Raises InputError, Conflict, NotReady if a variant does not answer."""
        queue: tuple[str, ...] = ()
        if "objective" in document:
            plan, parent, queue = self.traffic_manager.plan_search(model, document)
        else:
            plan, parent = read_plan(document, self.traffic_manager.model(model), model)
        for variant in (parent, plan.variant, *queue):
            await self.check_ready(model, variant)
        return await self.followed(self.traffic_manager.begin(model, plan, parent, who, queue))

    async def steer_rollout(self, model: str, action: str, who: str, why: str = "") -> dict[str, Any]:
        return await self.followed(self.traffic_manager.steer(model, action, who, why))

    async def add_feedback(self, document: dict[str, Any], owner: str | None, client: str | None) -> dict[str, Any]:
        return self.traffic_manager.feedback(document, owner, client)

    async def why_not_counted(self, key: str, pair: str) -> str | None:
        return self.traffic_manager.state.why_not_counted(key, pair)

    async def journal(self, last: int) -> list[Entry]:
        return self.traffic_manager.journal.last(last)

    async def followed(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Give the answer when every ingress has the change of traffic, or after `FOLLOW_LIMIT_S`."""
        await self.follow()
        return answer

    async def follow(self) -> None:
        """Wait until every ingress has the snapshot, at most `FOLLOW_LIMIT_S`. The decision counts in either case."""
        with suppress(EngineError):
            await self.until_all_have(self.snapshot.version, FOLLOW_LIMIT_S)

    async def check_ready(self, model: str, variant: str) -> None:
        """Raises NotReady for a variant whose engine does not answer."""
        try:
            await self.deployer.describe(self.snapshot.variants[model, variant].engine.application)
        except Exception as error:  # Ray has many errors for a replica that is starting or gone
            raise NotReady(f"{model}@{variant} is not ready: {error}", mend="wait until it answers") from None

    async def state(self) -> dict[str, Any]:
        """The served stack, the latest change, and the changes before it."""
        changes = self.changes.to_json()
        return {**document_of(self.snapshot), "change": changes[-1] if changes else None, "changes": changes}

    async def cancel(self, number: int | None = None) -> dict[str, Any]:
        """Cancel the open change before it takes effect, and end what it started. With `number`, only that change.

        Raises Conflict."""
        change = self.changes.open
        if change is None or self.task is None:
            raise Conflict("no change is in progress")
        if number not in (None, change.number):
            raise Conflict(f"change {number} has ended; {change.number} is in progress")
        if change.state == "undoing":
            raise Conflict("the change is already being cancelled", mend="wait for it: GET /admin/v1/stack")
        if change.state not in ("checking", "starting"):
            raise Conflict("the change has taken effect", mend="apply the previous stack again")
        if change.state == "checking":
            change.end("cancelled")
        self.task.cancel()
        await asyncio.wait([self.task])
        return vars(change)

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Report the differences and begin the change, unless it is a dry run; see `serve.control.proposal`.

        Raises InputError and its subclasses for a wrong proposal, Conflict for one that is not possible now.
        """
        proposal = read_proposal(document)
        if other := self.changes.open:
            raise Conflict(
                f"change {other.number} is in progress since {other.began}: {other.doing}",
                mend="wait for it: GET /admin/v1/stack",
            )
        before = self.snapshot
        if proposal.dry_run:
            wanted = await asyncio.to_thread(version_of, proposal, before)
            return await self.examine(before, wanted, None)
        # Begun before the first await, so that one of two simultaneous proposals is refused.
        change = self.changes.begin()
        self.task = asyncio.create_task(self.check(proposal, before, change))
        try:
            wanted, answer = await self.task
        except BaseException:
            if change.state != "cancelled":
                self.changes.drop(change)
                raise
        if change.state == "cancelled":
            raise Conflict(f"change {change.number} was cancelled")
        change.state = "starting"
        self.task = asyncio.create_task(self.carry_out(before, wanted, change, proposal.force))
        return answer

    async def check(self, proposal: Proposal, before: Snapshot, change: Change) -> tuple[Snapshot, dict[str, Any]]:
        """The proposed snapshot and the answer to the proposer. Raises InputError and its subclasses, Conflict."""
        wanted = await asyncio.to_thread(version_of, proposal, before)
        check_engines(before, wanted, await asyncio.to_thread(gpus_for, wanted.stack.server))
        answer = await self.examine(before, wanted, change.number)
        if not answer["memory"]["fits"]:
            says = answer["memory"]["says"]
            raise Conflict(f"it does not fit: {says}", field="memory", mend="serve fewer or smaller variants")
        check_exposure(before, wanted, proposal.insecure_open)
        check_slots(before, wanted)
        if not proposal.force:
            self.check_unused(before, wanted)
        change.differences = answer["differences"]
        return wanted, answer

    def check_unused(self, before: Snapshot, wanted: Snapshot) -> None:
        check_unused(before, wanted, self.heartbeats.named(), time.time())

    async def examine(self, before: Snapshot, wanted: Snapshot, number: int | None) -> dict[str, Any]:
        """The answer to a proposal: the differences, the memory, and the number of the change, if it has begun."""
        memory = (await self.budget(wanted)).to_json()
        server = server_differences(before.stack.server, wanted.stack.server)
        return {
            "differences": differences(before, wanted),
            "server": server,
            "rollouts": describe_declared(wanted, self.traffic_manager.state.history),
            "memory": memory,
            "change": number,
        }

    async def budget(self, wanted: Snapshot) -> Budget:
        """The memory that the change needs beside the running engines.

        For an engine that is down or restarting, its last known memory counts."""
        running, coming = self.snapshot.engines, wanted.engines
        needs = tuple(need_of(engine) for name, engine in coming.items() if name not in running)
        endpoints = await asyncio.gather(*map(self.deployer.describe, running), return_exceptions=True)
        for application, endpoint in zip(running, endpoints, strict=True):
            if isinstance(endpoint, BaseException):
                log.warning("the memory of %s could not be read: %s", application, endpoint)
            else:
                self.memory_bytes[application] = endpoint.memory_bytes
        held = {application: self.memory_bytes.get(application, 0) for application in running}
        return budget(needs, held, set(running) - set(coming), wanted.stack.server.memory_mib)

    async def carry_out(self, before: Snapshot, wanted: Snapshot, change: Change, force: bool) -> None:
        """Never raises an error of the change: the change holds its result."""
        began, committed = time.monotonic(), False
        try:
            async with self.deploy_lock:
                await self.start(before, wanted, change, force)
                committed = True
                change.state, change.doing = "switching", "waiting for every ingress"
                change.seconds["starting"] = round(time.monotonic() - began, 2)
                await self.until_all_have(self.snapshot.version, SWITCH_LIMIT_S)
                change.seconds["switching"] = round(time.monotonic() - began - change.seconds["starting"], 2)
                change.state, change.doing = "draining", "waiting for open requests"
                await self.drain(before, wanted)
                await self.sweep()
            change.end("done")
        except asyncio.CancelledError:
            change.end("cancelled")
            raise
        except Exception as error:
            log.exception("change %d failed", change.number)
            message = str(getattr(error, "cause", error))  # Ray wraps the error of an engine in a traceback
            change.end("failed", f"it is live, but not finished: {message}" if committed else message)
        finally:
            change.seconds["all"] = round(time.monotonic() - began, 2)

    async def start(self, before: Snapshot, wanted: Snapshot, change: Change, force: bool) -> None:
        """Start the new engines and commit the snapshot. If that fails or is cancelled, stop them: the old snapshot
        stays."""
        with hold_all(wanted):
            try:
                await self.start_engines(before, wanted, change)
                if not force:  # clients may have named a removed variant meanwhile
                    self.check_unused(before, wanted)
                self.commit(before, wanted)
            except BaseException:
                change.state, change.doing = "undoing", "stopping the new engines"
                await self.sweep()
                raise

    async def start_engines(self, before: Snapshot, wanted: Snapshot, change: Change) -> None:
        new = [engine for name, engine in wanted.engines.items() if name not in before.engines]
        self.swept = False
        change.doing = f"starting {', '.join(engine.name for engine in new) or 'nothing'}"
        await self.deployer.start(new)
        places = {variant.place for variant in before.variants.values()}
        for variant in wanted.variants.values():
            if variant.adapter and variant.place not in places:
                change.doing = f"loading {variant.adapter.name}"
                await self.deployer.load(variant.engine.application, variant.adapter)

    def commit(self, before: Snapshot, wanted: Snapshot) -> None:
        """Record the snapshot, then serve it. Raises Conflict, StoreFull, OSError; then the old one stays."""
        record(wanted, self.file)
        try:
            self.traffic_manager.replace(wanted)
        except BaseException:
            record(before, self.file)
            raise
        self.hold_files()

    def hold_files(self) -> None:
        """Protect served artifacts from removal, also while their engines restart."""
        held = hold_all(self.snapshot)
        self.files.close()
        self.files = held

    async def drain(self, before: Snapshot, wanted: Snapshot) -> None:
        """Wait for the last request to places that the new snapshot does not have."""
        places = {variant.place for variant in wanted.variants.values()}
        removed = [variant for variant in before.variants.values() if variant.place not in places]
        if removed:
            limit = max(variant.limits.timeout_s for variant in removed) + DRAIN_GRACE_S
            left = {variant.place for variant in removed}
            await self.until(lambda: self.heartbeats.all_left(left), limit, "requests did not end")

    async def sweep_beside(self) -> None:
        async with self.deploy_lock:
            await self.sweep()

    async def sweep(self) -> None:
        """End engines and remove adapters that neither the snapshot nor open requests need.

        Never raises: what failed is tried again later. While an ingress has an older snapshot, the sweep waits, because
        that ingress may still use them."""
        self.swept = False
        await self.follow()
        if not self.heartbeats.all_have(self.snapshot.version):
            return
        busy = [place.partition("/") for place in self.heartbeats.busy()]
        try:
            needed = set(self.snapshot.engines) | {application for application, _, _ in busy}
            await self.deployer.stop(await self.deployer.running() - needed)
            for application, names in self.snapshot.adapters.items():
                in_use = {name for at, _, name in busy if at == application}
                await self.deployer.keep_adapters(application, names | in_use)
            self.swept = not busy
        except Exception as error:  # Ray has many errors for a replica that is starting, dying or gone
            log.warning("old engines could not be ended, will try again: %s", getattr(error, "cause", error))

    async def until_all_have(self, version: int, limit_s: float) -> None:
        await self.until(lambda: self.heartbeats.all_have(version), limit_s, "an ingress did not take the snapshot")

    async def until(self, done: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Wait for a condition. Raises EngineError after the limit."""
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                raise EngineError(f"{otherwise} within {limit_s:g} s", mend=f"see {logs.where()}")
            await asyncio.sleep(POLL_S)


def hold_all(snapshot: Snapshot) -> ExitStack:
    """Protect the artifacts of a snapshot from removal until this is closed."""
    held, store = ExitStack(), Store(home())
    for artifact in snapshot.artifacts.values():
        held.enter_context(store.hold(artifact.manifest.key))
    return held
