"""Replays sampled requests: after the client has its answer, another variant answers the same request, and the two
answers are compared.

Requests are sampled before their variant is chosen (`serve.shadow.sampling`). For a labelled request both answers are
scored; the others are compared by agreement (`serve.shadow.comparison`).

Replays use spare capacity. If only replays use a variant, its engine runs at low CPU priority
(`serve.engines.cpu_priority`). A replay that asks only such an engine begins at low load; if the load is usually high,
several run together. Any other replay waits for a lower load and runs alone (`serve.shadow.load_gate`).

Each sampled request is accounted for. A replay that waits too long or finds the queue full is skipped: that decision
looks at neither request nor answers. One that has no outcome for another reason is lost, and its reason is counted. A
side that does not answer has failed, which is an error and never a wrong answer. A request that one engine refuses
(4xx) or fails to answer is asked of the other too. Where that one answers, this is a failure. Otherwise it is as if the
request had not been sampled."""

import asyncio
import logging
import sys
import time
from contextlib import nullcontext, suppress
from functools import partial
from typing import Literal

from serve import traces
from serve.config.lineage import root_of
from serve.dataplane.body_worker import apart, off_loop
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.observations import Observations
from serve.dataplane.relay import Relay
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import CLIENT_WENT_AWAY, STATUS, NotReady, Overloaded
from serve.shadow.comparison import (
    ShadowAgreement,
    compare_boxes,
    compare_embeddings,
    compare_labels,
    compare_pictures,
    compare_text,
    is_scorable,
)
from serve.shadow.free_text import Ask, compare_freely
from serve.shadow.labels import RecentLabels
from serve.shadow.load_gate import LOOK_S, LoadGate
from serve.shadow.opinions.answer_keeper import AnswerKeeper
from serve.shadow.opinions.difference import CLASSES, Difference, answer_of, classes_of, prompt_of
from serve.shadow.opinions.judge import Judges
from serve.shadow.replay import Lost, Replay, ScoredAnswer
from serve.shadow.sampling import Label, Selection
from serve.shadow.segments import Lengths, with_built_in
from serve.shadow.tally import Scores, Tally
from variants.artifacts.manifest import TaskKind
from variants.errors import UnderstudyError
from variants.evidence.free_running import FreeAnswer

log = logging.getLogger("understudy.shadow")
QUEUE = 256
WAIT_S = 30.0
"""A replay that was not admitted for this time is dropped."""
AT_ONCE = 4
"""Limit of concurrent replays on engines of low CPU priority."""
REPLAY_LIMIT_S = 60.0
"""Time limit of one answer of an engine."""
INCOMPARABLE = "incomparable answer"
LEFT_BEHIND = {CLIENT_WENT_AWAY: "client left", STATUS[Overloaded]: "overloaded"}
"""By status of a sampled request: why its pair is lost."""
Side = Literal["variant", "parent"]


class Replayer:
    """One ingress' replays."""

    def __init__(
        self, upstreams: Upstreams, relay: Relay, observations: Observations, memory: Memory | None = None
    ) -> None:
        self.upstreams, self.relay, self.tally = upstreams, relay, Tally(observations, self.differs)
        self.memory = memory or Memory(sys.maxsize)
        self.queue: asyncio.Queue[Replay] = asyncio.Queue(QUEUE)
        self.tasks: list[asyncio.Task[None]] = []
        self.load_gate = LoadGate(upstreams)
        self.labels, self.lengths = RecentLabels(), Lengths()
        self.keeper = AnswerKeeper(upstreams)
        self.judges = Judges(upstreams, relay, self.load_gate, partial(self.tally.opinion, by="judge"))
        self.alone = asyncio.Lock()
        """Held by the replay that uses engines of normal CPU priority."""

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.work()) for _ in range(AT_ONCE)]
        self.tasks.append(asyncio.create_task(self.load_gate.watch()))
        self.keeper.start()
        self.judges.start()

    async def stop(self) -> None:
        """Stop; replays that still wait are dropped."""
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while not self.queue.empty():
            replay = self.queue.get_nowait()
            self.memory.give(replay.kept)
            self.tally.skip(replay, "dropped_late")
        await self.judges.stop()
        await self.keeper.stop()

    def differs(self, difference: Difference) -> None:
        """Pass a pair whose answers differ on to those who may say which is better."""
        self.keeper.offer(difference)
        self.judges.offer(difference)

    def offer(self, selection: Selection, call: Call, answer: ScoredAnswer) -> None:
        """Count a request that has ended, and queue the replays of its samples.

        Ignored are requests that no engine answered by the client's fault, and those that a third variant answered
        while the parent has clients of its own."""
        for name, why_not in selection.reasons.items():
            if (pair := self.pair_of(call.target.model, name)) is not None:
                self.tally.see(*pair, why_not)
        if not selection.samples or call.upstream is None or self.upstreams.drain.over:
            return
        quartile = self.lengths.quartile(call.target.model, selection.samples[0].length)
        for each in selection.samples:
            pair = self.pair_of(call.target.model, each.variant)
            if pair is None or (call.upstream not in pair and (pair[0].served.weight > 0 or call.status != 200)):
                continue
            if any(upstream.endpoint is None for upstream in pair):
                continue  # independent of the request, so the sample stays unbiased
            self.choose(Replay(each, call, answer, *pair, with_built_in(each, call.streamed, quartile)))

    def pair_of(self, model: str, variant: str) -> tuple[Upstream, Upstream] | None:
        """The upstreams of a variant's parent and of itself; None where one is not served. In an A/A comparison the
        parent is both."""
        of_model, settings = self.upstreams.by_model.get(model, {}), self.upstreams.models.get(model)
        root = root_of(settings.variants, variant) if settings and variant in settings.variants else None
        parent, own = of_model.get(root or ""), of_model.get(variant)
        judged = self.upstreams.snapshot.judged.get(model)
        if judged is not None and judged.aa == variant:
            own = parent
        return None if parent is None or own is None else (parent, own)

    def choose(self, replay: Replay) -> None:
        """Queue a sampled request, or count why it has no outcome."""
        call = replay.call
        if not call.was_refused:
            if replay.by_variant and replay.label is None:
                return  # agreement is with the parent's answer
            if call.status not in (200, *LEFT_BEHIND) and call.status < 500:
                return
        self.tally.begin(replay)
        if replay.label is not None:
            self.labels.add(call.target.model, replay.sample.task, replay.sample.request, replay.label)
        if call.status in LEFT_BEHIND and not call.was_refused:
            self.tally.lose(replay, LEFT_BEHIND[call.status])
        else:
            self.enqueue(replay)

    def enqueue(self, replay: Replay) -> None:
        if self.queue.full():
            self.tally.skip(replay, "dropped_full")
        elif replay.answer.dropped or not self.memory.take(replay.kept):
            self.tally.lose(replay, "no memory")
        else:
            self.queue.put_nowait(replay)

    def is_served(self, replay: Replay) -> bool:
        """Whether parent and variant are still served."""
        of_model = self.upstreams.by_model.get(replay.parent.served.model, {})
        return all(of_model.get(upstream.served.variant) is upstream for upstream in (replay.parent, replay.variant))

    def admits(self, replay: Replay) -> bool:
        """Whether a replay may begin now; not while one of its two engines restarts."""
        if replay.parent.endpoint is None or replay.variant.endpoint is None:
            return False
        waited_s, crowded = time.monotonic() - replay.since, self.queue.qsize() >= QUEUE // 2
        if self.is_low_priority(replay):
            return self.load_gate.admits_low_priority(waited_s, crowded)
        return not self.alone.locked() and self.load_gate.admits(waited_s, crowded)

    def is_low_priority(self, replay: Replay) -> bool:
        """Whether this replay asks only an engine that may run at low CPU priority."""
        asks_one = replay.label is not None or replay.call.status != 200
        by_parent = not (replay.by_variant or replay.by_third)
        return asks_one and by_parent and replay.variant.has_only_shadow_load

    async def work(self) -> None:
        while True:
            replay = await self.queue.get()
            try:
                await self.carry_out(replay)
            except asyncio.CancelledError:
                if replay.begun:
                    self.tally.lose(replay, "server ended")
                else:
                    self.tally.skip(replay, "dropped_late")
                raise
            finally:
                self.memory.give(replay.kept)

    async def carry_out(self, replay: Replay) -> None:
        """Wait until the replay is admitted, then compare. Never raises."""
        while self.is_served(replay) and not self.admits(replay):
            if time.monotonic() - replay.since >= WAIT_S:
                if replay.parent.endpoint is None or replay.variant.endpoint is None:
                    self.tally.withdraw(replay)
                else:
                    self.tally.skip(replay, "dropped_late")
                return
            await asyncio.sleep(LOOK_S)
        if not self.is_served(replay):
            self.tally.withdraw(replay)
            return
        low_priority = self.is_low_priority(replay)
        self.load_gate.under_way += 1
        replay.begun = True
        try:
            if replay.variant.has_only_shadow_load:
                await replay.variant.lower_priority()
            async with nullcontext() if low_priority else self.alone:
                with traces.span("replay", within=replay.trace, variant=replay.variant.name):
                    await self.compare(replay)
        except TimeoutError:
            if low_priority:  # it got no CPU time, which is not the variant's failure
                self.tally.lose(replay, "timed out")
            else:
                self.unanswered(replay, f"no answer within {REPLAY_LIMIT_S:g} s")
        except ReplayFailed as error:
            self.unanswered(replay, str(error), error.refused)
        except NotReady as error:
            self.tally.lose(replay, "engine down", str(error))
        except Lost as error:
            self.tally.lose(replay, str(error))
        except UnderstudyError as error:
            self.tally.lose(replay, INCOMPARABLE, str(error))
        except Exception as error:
            log.exception("a comparison failed")
            self.tally.lose(replay, INCOMPARABLE, repr(error))
        finally:
            self.load_gate.under_way -= 1

    def unanswered(self, replay: Replay, why: str, refused: bool = False) -> None:
        """Count a missing answer as the failure of the one that was asked. An engine may refuse a request that it
        cannot score, or not answer one that the other did not answer either: neither is a failure."""
        failed_before = replay.call.status >= 500
        if not self.is_served(replay) or failed_before or (refused and replay.call.was_refused):
            self.tally.withdraw(replay)
        elif refused and replay.scoring:
            self.tally.lose(replay, "context overflow" if "context" in why else "scoring refused", why)
        else:
            failed = replay.asking is replay.variant
            self.tally.unanswered(replay, "variant" if failed else "parent", why, failed)

    async def compare(self, replay: Replay) -> None:
        """Ask, score, count. Raises ReplayFailed, NotReady, Lost, EngineError, TimeoutError."""
        if replay.by_third:
            await self.ask_parent(replay)
        if replay.call.status != 200:
            await self.ask_again(replay)
            # The other one has answered. The count of the client's requests has no refusal by the variant.
            replay.asked_variant |= replay.call.was_refused
            side: Side = "variant" if replay.by_variant else "parent"
            self.tally.unanswered(replay, side, f"status {replay.call.status}", failed=replay.by_variant)
        elif replay.label is not None:
            self.tally.quality(replay, await self.compare_right(replay, replay.label))
        else:
            self.tally.agreement(replay, await self.compare_agreement(replay))

    async def ask_parent(self, replay: Replay) -> None:
        """Replace a third variant's answer by the parent's. Raises ReplayFailed, NotReady, TimeoutError."""
        path, body = await apart(replay.call.size, replay.call.ask, replay.parent)
        reply = await self.asker(replay)(replay.parent, path, body, replay.call.headers)
        replay.answer = replay.answer.again(reply)

    async def ask_again(self, replay: Replay) -> Reply:
        """The reply of the one of both that did not answer the client. Raises ReplayFailed, NotReady, TimeoutError."""
        path, body = await apart(replay.call.size, replay.call.ask, replay.other)
        return await self.asker(replay)(replay.other, path, body, replay.call.headers)

    async def compare_right(self, replay: Replay, label: Label) -> Scores:
        """Scores of the variant and its parent on one labelled request. One that cannot be scored gets 0. Raises Lost
        if neither can."""
        reply = await self.ask_again(replay)
        another = self.labels.draw(replay.call.target.model, replay.sample.task, replay.sample.request)
        task = self.task_of(replay)

        def scores() -> Scores:
            own, others = replay.answer, replay.answer.again(reply)
            variant, parent = (own, others) if replay.by_variant else (others, own)
            each = variant.outcome(label), parent.outcome(label)
            if each == (None, None):
                raise Lost(INCOMPARABLE)
            self.show(replay, answer_of(task, variant), answer_of(task, parent))
            return Scores(each[0] or 0.0, each[1] or 0.0, None if another is None else parent.outcome(another))

        return await off_loop(scores)

    async def compare_agreement(self, replay: Replay) -> ShadowAgreement:
        task = self.task_of(replay)
        if task == "text-generation":
            return await self.compare_text(replay)
        ask, replies = self.asker(replay), [replay.answer.reply()]
        for upstream in (replay.variant, replay.parent):
            path, body = await apart(replay.call.size, replay.call.ask, upstream)
            replies.append(await ask(upstream, path, body, replay.call.headers))
        compare = {
            "feature-extraction": compare_embeddings,
            "object-detection": compare_boxes,
            "image-generation": compare_pictures,
        }.get(task, compare_labels)

        def compared() -> ShadowAgreement:
            if task in CLASSES:
                self.show(replay, classes_of(replies[1]), classes_of(replies[0]))
            return compare(replies)

        return await apart(sum(len(reply.body) for reply in replies), compared)

    def task_of(self, replay: Replay) -> TaskKind:
        return self.upstreams.models[replay.parent.served.model].task

    def show(self, replay: Replay, variant: FreeAnswer | None, parent: FreeAnswer | None) -> None:
        """Note both answers, and what was asked if they differ."""
        if variant is not None and parent is not None:
            replay.answers = variant, parent
            if not replay.same:
                replay.prompt = prompt_of(self.task_of(replay), replay.sample.document, replay.call, replay.parent)

    async def compare_text(self, replay: Replay) -> ShadowAgreement:
        """First what both write by themselves, so that a variant that refuses the request itself is seen to do so."""
        path, request = replay.sample.path, replay.sample.document
        assert request is not None
        answer, tokens = await apart(len(replay.answer.body), replay.answer.answered)
        if not tokens or not (answer.text or answer.calls):
            raise Lost("empty answer")
        pair = replay.parent, replay.variant
        free = await compare_freely(self.asker(replay), *pair, path, request, answer, tokens)
        self.show(replay, *free.answers)
        if not is_scorable(request, answer):
            return ShadowAgreement(free.variant, free.floor, None, free.checks)
        scored = await compare_text(self.asker(replay, scoring=True), *pair, path, request, answer.text, tokens)
        return scored.with_free(free)

    def asker(self, replay: Replay, scoring: bool = False) -> Ask:
        """A function that asks an engine, within a limit, and records which one. `scoring`: with requests that no
        client sends."""

        async def ask(upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            replay.asking, replay.scoring = upstream, scoring
            replay.asked_variant |= upstream is replay.variant
            async with asyncio.timeout(REPLAY_LIMIT_S):
                return await self.relay.ask_out_of_band(upstream, path, body, headers)

        return ask
