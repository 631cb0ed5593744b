"""The one writer of what is live.

A change is proposed whole: a stack and the key of every variant's artifact. It is refused at once where it is wrong,
does not fit, or would leave somebody without an answer; otherwise it is carried out in four steps, and until the third
nothing that is served has changed:

    starting   new engines are put up, new adapters loaded, beside what is there
    recording  the version is on disk, so a conductor that is started anew goes on with it
    switching  every ingress takes it (`serve.watch`); requests that are being answered stay where they are
    draining   what nobody asks any more is taken down once its last request has ended

Traffic moves without any of that: `serve.director` decides, on what is handed to `direct`, and every ingress takes the
version that comes of it.
Knows no HTTP; what it does to Ray Serve is `serve.stage`'s.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

from serve.difference import differences
from serve.director import Director
from serve.errors import Conflict, NotReady
from serve.live import Live, LiveEngine
from serve.memory import Budget, budget, need_of
from serve.proposal import check_unused, read_proposal, version_of
from serve.recorded import document_of, record, recorded
from serve.stage import Stage
from serve.watch import Report
from variants.catalog import Catalog
from variants.errors import EngineError, UnderstudyError
from variants.home import home

log = logging.getLogger("understudy.conductor")
POLL_S = 0.1
GONE_S = 5.0
"""An ingress that has not been heard of for so long is not waited for."""
JUDGE_S = 1.0
FOLLOW_LIMIT_S = 10.0
READY_LIMIT_S = 10.0
SWITCH_LIMIT_S = 120.0
DRAIN_GRACE_S = 10.0
T = TypeVar("T")

State = Literal["starting", "switching", "draining", "done", "failed", "cancelled"]


@dataclass
class Change:
    """One change on its way, as it is told to whoever asks."""

    number: int
    began: str
    differences: list[dict[str, Any]]
    state: State = "starting"
    doing: str = ""
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state not in ("done", "failed", "cancelled")


class Conductor:
    """A Ray Serve deployment of one replica. `folder` belongs to the run of the server, `state` outlasts it."""

    def __init__(self, live: Live, folder: str, state: str, stage: Stage | None = None) -> None:
        self.file = Path(folder) / "live.json"
        self.stage = stage or Stage()
        self.director = Director(Path(state), recorded(self.file) or live)
        self.ticking: asyncio.Task[None] | None = None
        self.reports: dict[str, tuple[float, Report]] = {}
        self.changes = 0
        self.change: Change | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def live(self) -> Live:
        return self.director.live

    async def tell(self, report: Report) -> Live | None:
        """Note what an ingress says, its outcomes on disk; the version that is live, None where it has that."""
        if self.ticking is None:
            self.ticking = asyncio.create_task(self.tick())
        self.reports[report.ingress] = (time.monotonic(), report)
        if report.outcomes is not None:
            self.director.count(report.ingress, report.outcomes)
        return None if report.version == self.live.version else self.live

    async def tick(self) -> None:
        """Judge what has come in, every second."""
        while True:
            await asyncio.sleep(JUDGE_S)
            self.director.judge_all()

    async def direct(self, act: Callable[[Director], T]) -> T:
        """What `act` makes of the director; where it made another version, when every ingress has that."""
        before, found = self.live.version, act(self.director)
        if self.live.version != before:
            await self.follow()
        return found

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Raises InputError, Conflict, NotReady where the variant does not answer."""
        if "objective" in document:
            for variant in self.director.candidates(model, document):
                await self.check_ready(model, variant)
            return await self.direct(partial(Director.search, model=model, document=document, who=who))
        plan, parent = self.director.read_plan(model, document)
        for variant in (plan.variant, parent):
            await self.check_ready(model, variant)
        return await self.direct(partial(Director.begin, model=model, plan=plan, parent=parent, who=who))

    async def follow(self) -> None:
        """Wait, not for long, until every ingress has what was decided: it is, whether they have it or not."""
        with suppress(EngineError):
            await self.until(lambda: self.all_have(self.live.version), FOLLOW_LIMIT_S)

    async def check_ready(self, model: str, variant: str) -> None:
        """Raises NotReady for a variant whose engine does not answer."""
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                await self.stage.holds(self.live.variants[model, variant].engine.application)
        except Exception as error:  # whatever Ray raises for a replica that is starting or gone
            raise NotReady(f"{model}@{variant} is not ready: {error}", mend="wait until it answers") from None

    async def state(self) -> dict[str, Any]:
        """What is live, and how the latest change is going."""
        return {**document_of(self.live), "change": vars(self.change) if self.change else None}

    async def cancel(self) -> dict[str, Any]:
        """Give up a change that has not taken effect yet; what it started is ended. Raises Conflict."""
        if self.change is None or not self.change.open or self.task is None:
            raise Conflict("no change is on its way")
        if self.change.state != "starting":
            raise Conflict("the change has taken effect", mend="apply the stack that was live before")
        self.task.cancel()
        await asyncio.wait([self.task])
        return vars(self.change)

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Say what would change, and begin it; see `serve.proposal`.

        Raises InputError and its kind for what is wrong, Conflict for what cannot be now.
        """
        proposal = read_proposal(document)
        if self.change is not None and self.change.open:
            raise Conflict(
                f"change {self.change.number} is on its way since {self.change.began}: {self.change.doing}",
                mend="wait for it: GET /admin/v1/stack",
            )
        # Taken before the first wait, so that of two proposals at once one is refused.
        self.changes += 1
        before, change = self.live, Change(self.changes, datetime.now(UTC).isoformat(timespec="seconds"), [])
        kept, self.change = self.change, change
        try:
            wanted = await asyncio.to_thread(version_of, proposal, before)
            change.differences = [found.to_json() for found in differences(before, wanted)]
            found = await self.budget(wanted)
            answer = {"differences": change.differences, "memory": found.to_json(), "change": None}
            if proposal.dry_run:
                self.change = kept
                return answer
            if not found.fits:
                raise Conflict(f"it does not fit: {found.says()}", field="memory", mend="serve less, or smaller")
            if not proposal.force:
                named = (each for _, report in self.reports.values() for each in report.pinned_at.items())
                check_unused(before, wanted, named, time.time())
        except BaseException:
            self.change = kept
            raise
        self.task = asyncio.create_task(self.carry_out(before, wanted, change))
        return answer | {"change": change.number}

    async def budget(self, wanted: Live) -> Budget:
        """What the change needs of memory beside what is there."""
        catalog = Catalog(home())
        running, coming = self.live.engines, wanted.engines
        needs = tuple(need_of(engine, catalog) for name, engine in coming.items() if name not in running)
        held = {}
        for application in running:
            try:
                held[application] = (await self.stage.holds(application)).memory_bytes
            except Exception as error:  # an engine that is down holds nothing
                log.warning("%s holds no memory that could be read: %s", application, error)
                held[application] = 0
        return budget(needs, held, set(running) - set(coming), wanted.stack.server.memory_mib)

    async def carry_out(self, before: Live, wanted: Live, change: Change) -> None:
        """Never raises: what came of it stands in the change."""
        began = time.monotonic()
        try:
            await self.start(before, wanted, change)
            record(wanted, self.file)
            wanted = self.director.replace(wanted)
            change.state, change.doing = "switching", "waiting for every ingress"
            change.seconds["starting"] = round(time.monotonic() - began, 2)
            await self.until(lambda: self.all_have(wanted.version), SWITCH_LIMIT_S)
            change.seconds["switching"] = round(time.monotonic() - began - change.seconds["starting"], 2)
            change.state, change.doing = "draining", "waiting for requests that are being answered"
            await self.clear(before, wanted)
            change.state, change.doing = "done", ""
        except asyncio.CancelledError:
            change.state, change.doing = "cancelled", ""
            raise
        except Exception as error:
            log.exception("change %d failed", change.number)
            said = error if isinstance(error, UnderstudyError) else getattr(error, "cause", error)
            change.state, change.error = "failed", str(said)
        finally:
            change.seconds["all"] = round(time.monotonic() - began, 2)

    async def start(self, before: Live, wanted: Live, change: Change) -> None:
        """Put up what is not there. Where that fails, or is given up, all of it is taken down again."""
        new = [engine for name, engine in wanted.engines.items() if name not in before.engines]
        loaded: list[tuple[str, str]] = []
        try:
            change.doing = f"starting {', '.join(engine.name for engine in new) or 'nothing'}"
            await self.stage.put_up(new)
            places = {variant.place for variant in before.variants.values()}
            for variant in wanted.variants.values():
                if variant.adapter and variant.place not in places:
                    change.doing = f"loading {variant.adapter.name}"
                    await self.stage.load(variant.engine.application, variant.adapter)
                    loaded.append((variant.engine.application, variant.adapter.name))
        except BaseException:
            for application, adapter in loaded:
                if application in before.engines:
                    await self.stage.unload(application, adapter)
            await self.stage.take_down(await self.up(new))
            raise

    async def up(self, engines: Collection[LiveEngine]) -> list[str]:
        standing = await self.stage.standing()
        return [engine.application for engine in engines if engine.application in standing]

    async def clear(self, before: Live, wanted: Live) -> None:
        """Take down what the version before alone had, once no request holds it."""
        places = {variant.place for variant in wanted.variants.values()}
        going = [variant for variant in before.variants.values() if variant.place not in places]
        if going:
            limit = max(variant.limits.timeout_s for variant in going) + DRAIN_GRACE_S
            await self.until(lambda: not self.busy({variant.place for variant in going}), limit)
        for variant in going:
            if variant.adapter and variant.engine.application in wanted.engines:
                await self.stage.unload(variant.engine.application, variant.adapter.name)
        await self.stage.take_down(name for name in before.engines if name not in wanted.engines)

    async def until(self, done: Callable[[], bool], limit_s: float) -> None:
        """Wait for a condition. Raises EngineError after the limit."""
        deadline = time.monotonic() + limit_s
        while not done():
            if time.monotonic() > deadline:
                raise EngineError(f"an ingress did not follow within {limit_s:g} s", mend="see the server's log")
            await asyncio.sleep(POLL_S)

    def heard(self) -> list[Report]:
        """The latest report of every ingress that lives."""
        now = time.monotonic()
        self.reports = {name: found for name, found in self.reports.items() if now - found[0] < GONE_S}
        return [report for _, report in self.reports.values()]

    def all_have(self, version: int) -> bool:
        found = self.heard()
        return bool(found) and all(report.version >= version for report in found)

    def busy(self, places: set[str]) -> bool:
        return any(report.busy & places for report in self.heard())
