"""Shadow pairs: a share of requests is answered by one variant and afterwards, off the client's path, compared with
what another says to the same request.

Which requests are compared is decided before it is known who answers (`serve.shadow.sampling`). A labelled one is asked
again of the other side and both answers are scored; the others are compared by agreement (`serve.shadow.comparison`).

Replays take what capacity is left. Where only they ask the variant, its engine gives way to every other process
(`serve.engines.cpu_priority`). A replay that asks no other engine begins in a calm moment, beside others where many
requests are usual; any other waits for a quiet one and is alone (`serve.shadow.load_gate`). One that waits too long, or
finds the queue full, is dropped and counted. A variant that is asked and does not answer has failed, and was wrong
where there is a label; where nothing can be compared for another reason, that is counted as well, and nobody's fault.
What is kept of a pair is digests, lengths and scores; texts and images are gone once it is scored."""

import asyncio
import logging
import time
from contextlib import nullcontext, suppress

from serve.dataplane.call import Call, ReplayFailed, Reply
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
"""A replay that found no quiet moment for so long is dropped."""
AT_ONCE = 4
"""Replays on their way to engines that give way, at most."""
REPLAY_LIMIT_S = 60.0


class Replayer:
    """One ingress' replays."""

    def __init__(self, upstreams: Upstreams, relay: Relay, observations: Observations) -> None:
        self.upstreams, self.relay, self.tally = upstreams, relay, Tally(observations)
        self.queue: asyncio.Queue[Replay] = asyncio.Queue(QUEUE)
        self.tasks: list[asyncio.Task[None]] = []
        self.load_gate = LoadGate(upstreams)
        self.alone = asyncio.Lock()
        """Held by the replay that is asked of engines that do not give way."""

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.work()) for _ in range(AT_ONCE)]
        self.tasks.append(asyncio.create_task(self.load_gate.watch()))

    async def stop(self) -> None:
        """End; what still waits is dropped."""
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while not self.queue.empty():
            self.tally.drop(self.queue.get_nowait(), "dropped_late")

    def offer(self, samples: list[Sample], call: Call, answer: ScoredAnswer) -> None:
        """A chosen request has been answered, or its engine failed to: compare it when there is time. What was the
        client's fault is left alone, what a full queue turned away, and what a third variant answered."""
        if not (call.status == 200 or call.status >= 500) or call.upstream is None or call.assignment is None:
            return
        of_model = self.upstreams.by_model.get(call.assignment.model, {})
        for each in samples:
            variant = of_model.get(each.variant)
            parent = of_model.get(self.parent_of(call.assignment.model, each.variant) or "")
            if variant is None or parent is None or call.upstream not in (parent, variant):
                continue
            if variant.endpoint is None or parent.endpoint is None:
                continue  # whatever is asked meanwhile: no choice among requests
            replay = Replay(each, call, answer, parent, variant)
            if call.upstream is variant and not labelled(replay):
                continue  # agreement is with the parent's answer
            self.tally.begin(replay)
            if call.status != 200 and not labelled(replay):
                self.tally.unjudged(replay, f"{call.upstream.name} answered {call.status}")
                continue
            try:
                self.queue.put_nowait(replay)
            except asyncio.QueueFull:
                self.tally.drop(replay, "dropped_full")

    def parent_of(self, model: str, variant: str) -> str | None:
        found = self.upstreams.models[model].variants.get(variant)
        return found.parent if found else None

    def stands(self, replay: Replay) -> bool:
        """Whether both are still served."""
        of_model = self.upstreams.by_model.get(replay.parent.served.model, {}).values()
        return any(upstream is replay.parent for upstream in of_model) and any(
            upstream is replay.variant for upstream in of_model
        )

    def admits(self, replay: Replay) -> bool:
        """Whether this is a moment for a replay: not while one of the two is starting again."""
        if replay.parent.endpoint is None or replay.variant.endpoint is None:
            return False
        waited_s, crowded = time.monotonic() - replay.since, self.queue.qsize() >= QUEUE // 2
        if self.gives_way(replay):
            return self.load_gate.admits_low_priority(waited_s, crowded)
        return not self.alone.locked() and self.load_gate.admits(waited_s, crowded)

    def gives_way(self, replay: Replay) -> bool:
        """Whether all that is asked for this pair is asked of an engine that may do with what is left."""
        return labelled(replay) and replay.call.upstream is replay.parent and replay.variant.has_only_shadow_load

    async def work(self) -> None:
        while True:
            replay = await self.queue.get()
            try:
                await self.carry_out(replay)
            except asyncio.CancelledError:
                self.tally.drop(replay, "dropped_late")
                raise

    async def carry_out(self, replay: Replay) -> None:
        """When there is a quiet moment for it. Never raises."""
        while self.stands(replay) and not self.admits(replay):
            if time.monotonic() - replay.since >= WAIT_S:
                if replay.parent.endpoint is None or replay.variant.endpoint is None:
                    self.tally.withdraw(replay)
                else:
                    self.tally.drop(replay, "dropped_late")
                return
            await asyncio.sleep(LOOK_S)
        if not self.stands(replay):
            self.tally.withdraw(replay)
            return
        gives_way = self.gives_way(replay)
        self.load_gate.under_way += 1
        try:
            async with asyncio.timeout(REPLAY_LIMIT_S):
                if replay.variant.has_only_shadow_load:
                    await replay.variant.lower_priority()
                async with nullcontext() if gives_way else self.alone:
                    await self.compare(replay)
        except TimeoutError:
            if gives_way:  # nothing was left for it: no fault of the variant's
                self.tally.drop(replay, "dropped_late")
            else:
                self.unanswered(replay, f"nothing after {REPLAY_LIMIT_S:g} s", refused=False)
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
        """Whose fault it is: the variant's, unless its parent was asked, or it refused what no client has asked of it,
        to score an answer."""
        if not self.stands(replay):
            self.tally.withdraw(replay)
        elif replay.asking is replay.variant and not (refused and not labelled(replay)):
            self.tally.failed(replay, why)
        else:
            self.tally.unjudged(replay, why)

    async def compare(self, replay: Replay) -> None:
        """Ask, score, count. Raises Unanswered, NotReady, EngineError, TimeoutError."""
        if replay.sample.label is not None and labelled(replay):
            values = await self.compare_right(replay, replay.sample.label)
            if values is None:
                self.tally.unjudged(replay, "neither answer says anything that could be right")
                return
            asked = replay.call.upstream is replay.parent
            self.tally.record(replay, "compared", metric="quality", values=values, asked=asked, failed=False)
        else:
            self.tally.record_agreement(replay, await self.compare_agreement(replay))

    async def compare_right(self, replay: Replay, label: Label) -> tuple[float, float] | None:
        """The variant's correctness and its parent's, on one labelled request; an answer that cannot be right, or never
        came, is wrong, unless neither can be."""
        other = replay.variant if replay.call.upstream is replay.parent else replay.parent
        path, body = replay.call.ask(other)
        reply = await self.asker(replay)(other, path, body, replay.call.headers)
        answers = right(replay), replay.answer.again(reply).outcome(label)
        if answers == (None, None):
            return None
        known, replayed = (round(found or 0.0, 3) for found in answers)
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
            path, body = replay.call.ask(upstream)
            replies.append(await ask(upstream, path, body, replay.call.headers))
        compare = {
            "feature-extraction": compare_embeddings,
            "object-detection": compare_boxes,
            "image-generation": compare_pictures,
        }.get(task, compare_labels)
        return compare(replies)

    def asker(self, replay: Replay) -> Ask:
        """Asks an engine, and notes which."""

        async def ask(upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            replay.asking = upstream
            return await self.relay.ask_out_of_band(upstream, path, body, headers)

        return ask
