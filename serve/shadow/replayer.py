"""Replays sampled requests: after the client has its answer, another variant answers the same request, and the two
answers are compared.

Requests are sampled before their variant is chosen (`serve.shadow.sampling`). For a labelled request both answers are
scored; the others are compared by agreement (`serve.shadow.comparison`).

Replays use spare capacity. If only replays use a variant, its engine runs at low CPU priority
(`serve.engines.cpu_priority`). A replay that asks only such an engine begins at low load; if the load is usually high,
several run together. Any other replay waits for a lower load and runs alone (`serve.shadow.load_gate`).

A replay that waits too long, or finds the queue or the memory of the ingress full, is dropped and counted. A variant
that does not answer has failed; with a label, its answer counts as wrong. Other reasons why a pair cannot be compared
are counted as `unjudged`. Only digests, lengths and scores of a pair are kept, not texts and images."""

import asyncio
import logging
import sys
import time
from contextlib import nullcontext, suppress

from serve.dataplane.body_worker import apart, off_loop
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.observations import Observations
from serve.dataplane.relay import Relay
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.shadow.comparison import (
    Ask,
    ShadowAgreement,
    compare_boxes,
    compare_embeddings,
    compare_labels,
    compare_pictures,
    compare_text,
)
from serve.shadow.load_gate import LOOK_S, LoadGate
from serve.shadow.replay import Replay, ScoredAnswer, labelled, right
from serve.shadow.sampling import Label, Sample
from serve.shadow.tally import Tally
from variants.errors import EngineError, UnderstudyError

log = logging.getLogger("understudy.shadow")
QUEUE = 256
WAIT_S = 30.0
"""A replay that was not admitted for this time is dropped."""
AT_ONCE = 4
"""Limit of concurrent replays on engines of low CPU priority."""
REPLAY_LIMIT_S = 60.0


class Replayer:
    """One ingress' replays."""

    def __init__(
        self, upstreams: Upstreams, relay: Relay, observations: Observations, memory: Memory | None = None
    ) -> None:
        self.upstreams, self.relay, self.tally = upstreams, relay, Tally(observations)
        self.memory = memory or Memory(sys.maxsize)
        self.queue: asyncio.Queue[Replay] = asyncio.Queue(QUEUE)
        self.tasks: list[asyncio.Task[None]] = []
        self.load_gate = LoadGate(upstreams)
        self.alone = asyncio.Lock()
        """Held by the replay that uses engines of normal CPU priority."""

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.work()) for _ in range(AT_ONCE)]
        self.tasks.append(asyncio.create_task(self.load_gate.watch()))

    async def stop(self) -> None:
        """Stop; replays that still wait are dropped."""
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while not self.queue.empty():
            replay = self.queue.get_nowait()
            self.memory.give(replay.kept)
            self.tally.drop(replay, "dropped_late")

    def offer(self, samples: list[Sample], call: Call, answer: ScoredAnswer) -> None:
        """Queue the replays of a finished request, also of one whose engine failed. Ignored are requests with an error
        of the client, refused by a full queue, or answered by a third variant."""
        if not (call.status == 200 or call.status >= 500) or call.upstream is None or call.assignment is None:
            return
        of_model = self.upstreams.by_model.get(call.assignment.model, {})
        for each in samples:
            variant = of_model.get(each.variant)
            settings = self.upstreams.models[call.assignment.model].variants.get(each.variant)
            parent = of_model.get(settings.parent or "") if settings else None
            if variant is None or parent is None or call.upstream not in (parent, variant):
                continue
            if variant.endpoint is None or parent.endpoint is None:
                continue  # independent of the request, so the sample stays unbiased
            replay = Replay(each, call, answer, parent, variant)
            if call.upstream is variant and not labelled(replay):
                continue  # agreement is with the parent's answer
            self.tally.begin(replay)
            if call.status != 200 and not labelled(replay):
                self.tally.unjudged(replay, f"{call.upstream.name} answered {call.status}")
                continue
            if self.queue.full() or not self.memory.take(replay.kept):
                self.tally.drop(replay, "dropped_full")
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
        return labelled(replay) and replay.call.upstream is replay.parent and replay.variant.has_only_shadow_load

    async def work(self) -> None:
        while True:
            replay = await self.queue.get()
            try:
                await self.carry_out(replay)
            except asyncio.CancelledError:
                self.tally.drop(replay, "dropped_late")
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
                    self.tally.drop(replay, "dropped_late")
                return
            await asyncio.sleep(LOOK_S)
        if not self.is_served(replay):
            self.tally.withdraw(replay)
            return
        low_priority = self.is_low_priority(replay)
        self.load_gate.under_way += 1
        try:
            async with asyncio.timeout(REPLAY_LIMIT_S):
                if replay.variant.has_only_shadow_load:
                    await replay.variant.lower_priority()
                async with nullcontext() if low_priority else self.alone:
                    await self.compare(replay)
        except TimeoutError:
            if low_priority:  # it got no CPU time, which is not the variant's failure
                self.tally.drop(replay, "dropped_late")
            else:
                self.unanswered(replay, f"no answer within {REPLAY_LIMIT_S:g} s", refused=False)
        except ReplayFailed as error:
            self.unanswered(replay, str(error), error.refused)
        except UnderstudyError as error:
            self.tally.unjudged(replay, str(error))
        except Exception as error:
            log.exception("a comparison failed")
            self.tally.unjudged(replay, repr(error))
        finally:
            self.load_gate.under_way -= 1

    def unanswered(self, replay: Replay, why: str, refused: bool) -> None:
        """Count a missing answer as the variant's failure. Exceptions: the parent was asked, or the variant refused a
        scoring request, which no client sends."""
        if not self.is_served(replay):
            self.tally.withdraw(replay)
        elif replay.asking is replay.variant and not (refused and not labelled(replay)):
            self.tally.failed(replay, why)
        else:
            self.tally.unjudged(replay, why)

    async def compare(self, replay: Replay) -> None:
        """Ask, score, count. Raises ReplayFailed, NotReady, EngineError, TimeoutError."""
        if replay.sample.label is not None and labelled(replay):
            values = await self.compare_right(replay, replay.sample.label)
            if values is None:
                self.tally.unjudged(replay, "neither answer can be scored")
                return
            asked = replay.call.upstream is replay.parent
            self.tally.record(replay, "compared", metric="quality", values=values, asked=asked, failed=False)
        else:
            self.tally.record_agreement(replay, await self.compare_agreement(replay))

    async def compare_right(self, replay: Replay, label: Label) -> tuple[float, float] | None:
        """Scores of the variant and its parent on one labelled request. An answer that is missing or cannot be scored
        gets 0; None if neither can be scored."""
        other = replay.variant if replay.call.upstream is replay.parent else replay.parent
        path, body = await apart(replay.call.size, replay.call.ask, other)
        reply = await self.asker(replay)(other, path, body, replay.call.headers)
        scores = await off_loop(lambda: (right(replay), replay.answer.again(reply).outcome(label)))
        if scores == (None, None):
            return None
        known, replayed = (round(score or 0.0, 3) for score in scores)
        return (replayed, known) if other is replay.variant else (known, replayed)

    async def compare_agreement(self, replay: Replay) -> ShadowAgreement:
        ask, task = self.asker(replay), self.upstreams.models[replay.parent.served.model].task
        if task == "text-generation":
            assert replay.sample.document is not None
            text, tokens = replay.answer.answered()
            if not text or not tokens:
                raise EngineError("the answer is empty")
            return await compare_text(
                ask, replay.parent, replay.variant, replay.sample.path, replay.sample.document, text, tokens
            )
        replies = [replay.answer.reply()]
        for upstream in (replay.variant, replay.parent):
            path, body = await apart(replay.call.size, replay.call.ask, upstream)
            replies.append(await ask(upstream, path, body, replay.call.headers))
        compare = {
            "feature-extraction": compare_embeddings,
            "object-detection": compare_boxes,
            "image-generation": compare_pictures,
        }.get(task, compare_labels)
        return compare(replies)

    def asker(self, replay: Replay) -> Ask:
        """A function that asks an engine and records which one."""

        async def ask(upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            replay.asking = upstream
            return await self.relay.ask_out_of_band(upstream, path, body, headers)

        return ask
