"""The one writer of what is live.

A change is proposed whole: a stack and the key of every variant's artifact. It is refused at once where it is wrong,
does not fit, or would leave somebody without an answer (`serve.control.proposal`); otherwise it is carried out in four
steps, and until the second nothing that is served has changed:

    starting   new engines are put up, new adapters loaded, beside what is there
    recording  the version is on disk, so a controller that is started anew goes on with it
    switching  every ingress takes it (`serve.dataplane.sync`); requests that are being answered stay where they are
    draining   what nobody asks any more is taken down once its last request has ended

What stands without being named by what is live is swept away: after a change that failed or was given up, and when a
controller is started anew, for the one before it may have died in the middle of one.

Traffic moves without any of that: `serve.control.traffic_manager` decides, and every
ingress takes the version that comes of it. Knows no HTTP; what it does to Ray Serve is `serve.cluster.deployer`'s."""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from serve.cluster.deployer import EngineDeployer
from serve.config.snapshot import Snapshot
from serve.control.change import Change, Changes
from serve.control.contract import Heartbeat
from serve.control.diff import differences
from serve.control.heartbeats import Heartbeats
from serve.control.journal import Entry
from serve.control.memory_budget import Budget, budget, need_of
from serve.control.proposal import Proposal, check_slots, check_unused, read_proposal, version_of
from serve.control.snapshot_file import document_of, record, recorded
from serve.control.traffic_manager import TrafficManager
from serve.errors import Conflict, NotReady
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Store
from variants.errors import EngineError
from variants.home import home

log = logging.getLogger("understudy.controller")
POLL_S = 0.1
JUDGE_S = 1.0
FOLLOW_LIMIT_S = 10.0
SWITCH_LIMIT_S = 120.0
DRAIN_GRACE_S = 10.0


class Controller:
    """A Ray Serve deployment of one replica. `folder` belongs to the run of the server, `state` outlasts it."""

    def __init__(self, snapshot: Snapshot, folder: str, state: str, deployer: EngineDeployer | None = None) -> None:
        self.file = Path(folder) / "live.json"
        self.deployer = deployer or EngineDeployer()
        self.traffic_manager = TrafficManager(Path(state), recorded(self.file) or snapshot)
        self.ticking: asyncio.Task[None] | None = None
        self.heartbeats, self.changes = Heartbeats(), Changes()
        self.task: asyncio.Task[Any] | None = None
        self.deploy_lock = asyncio.Lock()
        self.swept = False
        self.sweeping: asyncio.Task[None] | None = None
        self.memory_bytes: dict[str, int] = {}
        self.files = ExitStack()
        self.hold_files()

    @property
    def snapshot(self) -> Snapshot:
        return self.traffic_manager.snapshot

    async def tell(self, heartbeat: Heartbeat) -> Snapshot | None:
        """Note what an ingress says, its outcomes on disk; the version that is live, None where it has that."""
        if self.ticking is None:
            self.ticking = asyncio.create_task(self.tick())
        self.heartbeats.note(heartbeat)
        if heartbeat.observations is not None:
            self.traffic_manager.count(heartbeat.ingress, heartbeat.observations)
        return None if heartbeat.version == self.snapshot.version else self.snapshot

    async def tick(self) -> None:
        """Judge what has come in, every second; and sweep, until nothing is left to."""
        while True:
            await asyncio.sleep(JUDGE_S)
            self.traffic_manager.judge_all()
            if not (self.swept or self.changes.open or self.deploy_lock.locked()):
                self.sweeping = asyncio.create_task(self.sweep_beside())

    async def traffic(self, model: str) -> dict[str, Any]:
        return self.traffic_manager.traffic_of(model)

    async def set_traffic(
        self, model: str, document: dict[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        return await self.followed(self.traffic_manager.set_traffic(model, document, version, who, why))

    async def rollout(self, model: str) -> dict[str, Any]:
        return self.traffic_manager.rollout_of(model)

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Raises InputError, Conflict, NotReady where the variant does not answer."""
        if "objective" in document:
            for variant in self.traffic_manager.candidates(model, document):
                await self.check_ready(model, variant)
            return await self.followed(self.traffic_manager.search(model, document, who))
        plan, parent = self.traffic_manager.read_plan(model, document)
        for variant in (plan.variant, parent):
            await self.check_ready(model, variant)
        return await self.followed(self.traffic_manager.begin(model, plan, parent, who))

    async def steer_rollout(self, model: str, action: str, who: str) -> dict[str, Any]:
        return await self.followed(self.traffic_manager.steer(model, action, who))

    async def add_feedback(self, document: dict[str, Any]) -> dict[str, Any]:
        return self.traffic_manager.feedback(document)

    async def journal(self, last: int) -> list[Entry]:
        return self.traffic_manager.last(last)

    async def followed(self, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer to a change of traffic, when every ingress has the change."""
        await self.follow()
        return answer

    async def follow(self) -> None:
        """Wait, not for long, until every ingress has what was decided: it is, whether they have it or not."""
        with suppress(EngineError):
            await self.until_all_have(self.snapshot.version, FOLLOW_LIMIT_S)

    async def check_ready(self, model: str, variant: str) -> None:
        """Raises NotReady for a variant whose engine does not answer."""
        try:
            await self.deployer.describe(self.snapshot.variants[model, variant].engine.application)
        except Exception as error:  # whatever Ray raises for a replica that is starting or gone
            raise NotReady(f"{model}@{variant} is not ready: {error}", mend="wait until it answers") from None

    async def state(self) -> dict[str, Any]:
        """What is live, how the latest change is going, and how those before it went."""
        found = self.changes.to_json()
        return {**document_of(self.snapshot), "change": found[-1] if found else None, "changes": found}

    async def cancel(self, number: int | None = None) -> dict[str, Any]:
        """Give up a change that has not taken effect yet, the one of that `number` where one is given; what it started
        is ended. Raises Conflict."""
        change = self.changes.open
        if change is None or self.task is None:
            raise Conflict("no change is on its way")
        if number not in (None, change.number):
            raise Conflict(f"change {number} has ended; {change.number} is on its way")
        if change.state == "undoing":
            raise Conflict("the change is being given up already", mend="wait for it: GET /admin/v1/stack")
        if change.state not in ("checking", "starting"):
            raise Conflict("the change has taken effect", mend="apply the stack that was live before")
        if change.state == "checking":
            change.end("cancelled")
        self.task.cancel()
        await asyncio.wait([self.task])
        return vars(change)

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Say what would change, and begin it; see `serve.control.proposal`.

        Raises InputError and its kind for what is wrong, Conflict for what cannot be now.
        """
        proposal = read_proposal(document)
        if other := self.changes.open:
            raise Conflict(
                f"change {other.number} is on its way since {other.began}: {other.doing}",
                mend="wait for it: GET /admin/v1/stack",
            )
        before = self.snapshot
        if proposal.dry_run:
            wanted = await asyncio.to_thread(version_of, proposal, before)
            return (await self.examine(before, wanted)).to_json(None)
        # Noted before the first wait, so that of two proposals at once one is refused.
        change = self.changes.begin()
        self.task = asyncio.create_task(self.check(proposal, before, change))
        try:
            wanted, answer = await self.task
        except BaseException:
            if change.state != "cancelled":
                self.changes.drop(change)
                raise
        if change.state == "cancelled":
            raise Conflict(f"change {change.number} was given up")
        change.state = "starting"
        self.task = asyncio.create_task(self.carry_out(before, wanted, change, proposal.force))
        return answer

    async def check(self, proposal: Proposal, before: Snapshot, change: Change) -> tuple[Snapshot, dict[str, Any]]:
        """The version that is proposed, and what is said of it. Raises what is wrong with it, Conflict."""
        wanted = await asyncio.to_thread(version_of, proposal, before)
        found = await self.examine(before, wanted)
        if not found.budget.fits:
            raise Conflict(f"it does not fit: {found.budget.says()}", field="memory", mend="serve less, or smaller")
        check_slots(before, wanted)
        if not proposal.force:
            self.check_unused(before, wanted)
        change.differences = found.differences
        return wanted, found.to_json(change.number)

    def check_unused(self, before: Snapshot, wanted: Snapshot) -> None:
        check_unused(before, wanted, self.heartbeats.named(), time.time())

    async def examine(self, before: Snapshot, wanted: Snapshot) -> "Examination":
        return Examination([found.to_json() for found in differences(before, wanted)], await self.budget(wanted))

    async def budget(self, wanted: Snapshot) -> Budget:
        """What the change needs of memory beside what is there. An engine that does not say what it holds, for it is
        down or being restarted, is taken to hold what it held last."""
        catalog = Catalog(home())
        running, coming = self.snapshot.engines, wanted.engines
        needs = tuple(need_of(engine, catalog) for name, engine in coming.items() if name not in running)
        asked = await asyncio.gather(*map(self.deployer.describe, running), return_exceptions=True)
        for application, found in zip(running, asked, strict=True):
            if isinstance(found, BaseException):
                log.warning("%s holds no memory that could be read: %s", application, found)
            else:
                self.memory_bytes[application] = found.memory_bytes
        held = {application: self.memory_bytes.get(application, 0) for application in running}
        return budget(needs, held, set(running) - set(coming), wanted.stack.server.memory_mib)

    async def carry_out(self, before: Snapshot, wanted: Snapshot, change: Change, force: bool) -> None:
        """Never raises: what came of it stands in the change."""
        began, snapshot = time.monotonic(), False
        try:
            async with self.deploy_lock:
                await self.start(before, wanted, change, force)
                snapshot = True
                change.state, change.doing = "switching", "waiting for every ingress"
                change.seconds["starting"] = round(time.monotonic() - began, 2)
                await self.until_all_have(self.snapshot.version, SWITCH_LIMIT_S)
                change.seconds["switching"] = round(time.monotonic() - began - change.seconds["starting"], 2)
                change.state, change.doing = "draining", "waiting for requests that are being answered"
                await self.drain(before, wanted)
                await self.sweep()
            change.end("done")
        except asyncio.CancelledError:
            change.end("cancelled")
            raise
        except Exception as error:
            log.exception("change %d failed", change.number)
            said = str(getattr(error, "cause", error))  # Ray wraps what a host raised in its traceback
            change.end("failed", f"it is live, but what it replaced is not all ended yet: {said}" if snapshot else said)
        finally:
            change.seconds["all"] = round(time.monotonic() - began, 2)

    async def start(self, before: Snapshot, wanted: Snapshot, change: Change, force: bool) -> None:
        """Put up what is not there, and make it what is live. Where that fails, or is given up, all of it is taken down
        again, and what was live is."""
        with hold_all(wanted):
            try:
                await self.start_engines(before, wanted, change)
                if not force:  # clients may have named it while engines were started
                    self.check_unused(before, wanted)
                self.commit(before, wanted)
            except BaseException:
                change.state, change.doing = "undoing", "taking down what was started"
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
        """On disk, then live. Raises Conflict, StoreFull, OSError: then what was live is, on disk too."""
        record(wanted, self.file)
        try:
            self.traffic_manager.replace(wanted)
        except BaseException:
            record(before, self.file)
            raise
        self.hold_files()

    def hold_files(self) -> None:
        """Nobody removes an artifact that is live, not while its engine is being started again either."""
        held = hold_all(self.snapshot)
        self.files.close()
        self.files = held

    async def drain(self, before: Snapshot, wanted: Snapshot) -> None:
        """Wait for the last request to what the version before alone had."""
        places = {variant.place for variant in wanted.variants.values()}
        going = [variant for variant in before.variants.values() if variant.place not in places]
        if going:
            limit = max(variant.limits.timeout_s for variant in going) + DRAIN_GRACE_S
            left = {variant.place for variant in going}
            await self.until(lambda: self.heartbeats.all_left(left), limit, "requests did not end")

    async def sweep_beside(self) -> None:
        async with self.deploy_lock:
            await self.sweep()

    async def sweep(self) -> None:
        """End the engines and take out the adapters that stand without being live, but for those that requests of
        an earlier version still hold. Never raises: what could not be ended is tried again later, and so is all of it
        while an ingress is behind, which may still ask what is to go."""
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
        except Exception as error:  # whatever Ray raises for what is starting, dying or gone
            log.warning("what is not live could not be ended, and will be: %s", getattr(error, "cause", error))

    async def until_all_have(self, version: int, limit_s: float) -> None:
        await self.until(lambda: self.heartbeats.all_have(version), limit_s, "an ingress did not follow")

    async def until(self, done: Callable[[], bool], limit_s: float, otherwise: str) -> None:
        """Wait for a condition. Raises EngineError after the limit."""
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                raise EngineError(f"{otherwise} within {limit_s:g} s", mend="see the server's log")
            await asyncio.sleep(POLL_S)


class Examination(NamedTuple):
    """What is said of a version that is proposed."""

    differences: list[dict[str, Any]]
    budget: Budget

    def to_json(self, change: int | None) -> dict[str, Any]:
        return {"differences": self.differences, "memory": self.budget.to_json(), "change": change}


def hold_all(snapshot: Snapshot) -> ExitStack:
    """Nobody removes the artifacts of a version until this is closed."""
    held, store = ExitStack(), Store(home())
    for artifact in snapshot.artifacts.values():
        held.enter_context(store.hold(artifact.manifest.key))
    return held
