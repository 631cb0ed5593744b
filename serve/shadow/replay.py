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
from dataclasses import dataclass, field
from typing import Any, Protocol

from serve import metrics
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.observations import Observations, Shadowed
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
from serve.shadow.sampling import Label, Sample
from variants.errors import EngineError, UnderstudyError

log = logging.getLogger("understudy.shadow")
QUEUE = 256
WAIT_S = 30.0
"""A replay that found no quiet moment for so long is dropped."""
AT_ONCE = 4
"""Replays on their way to engines that give way, at most."""
REPLAY_LIMIT_S = 60.0


class ScoredAnswer(Protocol):
    """A protocol's answer that has been kept whole."""

    def outcome(self, label: Label) -> float | None:
        """How right the answer is, 0 to 1; None where that cannot be said."""

    def answered(self) -> tuple[str, int]:
        """The text of the answer and its number of tokens; of no use for tensors."""

    def again(self, reply: Reply) -> "ScoredAnswer":
        """An answer of the same kind from another engine's reply."""

    def reply(self) -> Reply:
        """The answer as the engine gave it."""


@dataclass
class Replay:
    chosen: Sample
    call: Call
    answer: ScoredAnswer
    parent: Upstream
    variant: Upstream
    since: float = field(default_factory=time.monotonic)
    asking: Upstream | None = None


class Replayer:
    """One ingress' replays."""

    def __init__(self, upstreams: Upstreams, relay: Relay, observations: Observations) -> None:
        self.upstreams, self.relay, self.observations = upstreams, relay, observations
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
            self.drop(self.queue.get_nowait(), "dropped_late")

    def offer(self, chosen: list[Sample], call: Call, answer: ScoredAnswer) -> None:
        """A chosen request has been answered, or its engine failed to: compare it when there is time. What was the
        client's fault is left alone, what a full queue turned away, and what a third variant answered."""
        if not (call.status == 200 or call.status >= 500) or call.upstream is None or call.assignment is None:
            return
        of_model = self.upstreams.by_model.get(call.assignment.model, {})
        for each in chosen:
            variant = of_model.get(each.variant)
            parent = of_model.get(self.parent_of(call.assignment.model, each.variant) or "")
            if variant is None or parent is None or call.upstream not in (parent, variant):
                continue
            if variant.endpoint is None or parent.endpoint is None:
                continue  # whatever is asked meanwhile: no choice among requests
            job = Replay(each, call, answer, parent, variant)
            if call.upstream is variant and not labelled(job):
                continue  # agreement is with the parent's answer
            self.shadowed(job).chosen += 1
            metrics.shadows_waiting.labels(*variant.labels).inc()
            if call.status != 200 and not labelled(job):
                self.unjudged(job, f"{call.upstream.name} answered {call.status}")
                continue
            try:
                self.queue.put_nowait(job)
            except asyncio.QueueFull:
                self.drop(job, "dropped_full")

    def parent_of(self, model: str, variant: str) -> str | None:
        found = self.upstreams.models[model].variants.get(variant)
        return found.parent if found else None

    def drop(self, job: Replay, why: str) -> None:
        self.shadowed(job).dropped.append(job.chosen.length)
        self.ended(job, why)

    def withdraw(self, job: Replay) -> None:
        """One of the two is not there to be asked: as if it had not been chosen."""
        self.shadowed(job).chosen -= 1
        self.ended(job, "withdrawn")

    def unjudged(self, job: Replay, why: str) -> None:
        log.warning("a shadow of %s says nothing: %s", job.variant.name, why)
        self.shadowed(job).unjudged.append(job.chosen.length)
        self.ended(job, "unjudged")

    def failed(self, job: Replay, why: str) -> None:
        """The variant was asked and did not answer: wrong, where it can be said what its parent was."""
        log.warning("%s did not answer a shadow: %s", job.variant.name, why)
        known = right(job)
        metric, values = (None, None) if known is None else ("quality", (0.0, round(known, 3)))
        self.record(job, "failed", metric=metric, values=values, asked=True, failed=True)

    def record(self, job: Replay, outcome: str, **found: Any) -> None:
        """What is told of a pair; dropped where too many wait to be told."""
        shadowed = self.shadowed(job)
        if shadowed.full:
            self.drop(job, "dropped_full")
        else:
            shadowed.pairs.append({"request": job.chosen.request, "length": job.chosen.length, **found})
            self.ended(job, outcome)

    def stands(self, job: Replay) -> bool:
        """Whether both are still served."""
        of_model = self.upstreams.by_model.get(job.parent.served.model, {}).values()
        return any(upstream is job.parent for upstream in of_model) and any(
            upstream is job.variant for upstream in of_model
        )

    def ended(self, job: Replay, outcome: str) -> None:
        metrics.shadows.labels(*job.variant.labels, outcome).inc()
        metrics.shadows_waiting.labels(*job.variant.labels).dec()

    def shadowed(self, job: Replay) -> Shadowed:
        """Where to count: a batch may have been told since the job was chosen."""
        pair = f"{job.parent.manifest.digest}:{job.variant.manifest.digest}"
        return self.observations.shadowed(job.parent.served.model, pair)

    def admits(self, job: Replay) -> bool:
        """Whether this is a moment for a replay: not while one of the two is starting again."""
        if job.parent.endpoint is None or job.variant.endpoint is None:
            return False
        waited_s, crowded = time.monotonic() - job.since, self.queue.qsize() >= QUEUE // 2
        if self.gives_way(job):
            return self.load_gate.admits_low_priority(waited_s, crowded)
        return not self.alone.locked() and self.load_gate.admits(waited_s, crowded)

    def gives_way(self, job: Replay) -> bool:
        """Whether all that is asked for this pair is asked of an engine that may do with what is left."""
        return labelled(job) and job.call.upstream is job.parent and job.variant.has_only_shadow_load

    async def work(self) -> None:
        while True:
            job = await self.queue.get()
            try:
                await self.replay(job)
            except asyncio.CancelledError:
                self.drop(job, "dropped_late")
                raise

    async def replay(self, job: Replay) -> None:
        """When there is a quiet moment for it. Never raises."""
        while self.stands(job) and not self.admits(job):
            if time.monotonic() - job.since >= WAIT_S:
                if job.parent.endpoint is None or job.variant.endpoint is None:
                    self.withdraw(job)
                else:
                    self.drop(job, "dropped_late")
                return
            await asyncio.sleep(LOOK_S)
        if not self.stands(job):
            self.withdraw(job)
            return
        gives_way = self.gives_way(job)
        self.load_gate.under_way += 1
        try:
            async with asyncio.timeout(REPLAY_LIMIT_S):
                if job.variant.has_only_shadow_load:
                    await job.variant.lower_priority()
                async with nullcontext() if gives_way else self.alone:
                    await self.compare(job)
        except TimeoutError:
            if gives_way:  # nothing was left for it: no fault of the variant's
                self.drop(job, "dropped_late")
            else:
                self.unanswered(job, f"nothing after {REPLAY_LIMIT_S:g} s", refused=False)
        except ReplayFailed as error:
            self.unanswered(job, str(error), error.refused)
        except UnderstudyError as error:
            self.unjudged(job, str(error))
        except Exception as error:
            log.exception("a comparison failed")
            self.unjudged(job, repr(error))
        finally:
            self.load_gate.under_way -= 1

    def unanswered(self, job: Replay, why: str, refused: bool) -> None:
        """Whose fault it is: the variant's, unless its parent was asked, or it refused what no client has asked of it,
        to score an answer."""
        if not self.stands(job):
            self.withdraw(job)
        elif job.asking is job.variant and not (refused and not labelled(job)):
            self.failed(job, why)
        else:
            self.unjudged(job, why)

    async def compare(self, job: Replay) -> None:
        """Ask, score, count. Raises Unanswered, NotReady, EngineError, TimeoutError."""
        if job.chosen.label is not None and labelled(job):
            values = await self.compare_right(job, job.chosen.label)
            if values is None:
                self.unjudged(job, "neither answer says anything that could be right")
                return
            asked = job.call.upstream is job.parent
            self.record(job, "compared", metric="quality", values=values, asked=asked, failed=False)
        else:
            found = await self.compare_agreement(job)
            values = round(found.variant, 3), round(found.floor, 3)
            self.record(
                job,
                "compared",
                metric="agreement",
                values=values,
                divergence=found.divergence,
                asked=True,
                failed=False,
            )
            metrics.agreement.labels(*job.variant.labels, "variant").observe(found.variant)
            metrics.agreement.labels(*job.variant.labels, "parent").observe(found.floor)

    async def compare_right(self, job: Replay, label: Label) -> tuple[float, float] | None:
        """The variant's correctness and its parent's, on one labelled request; an answer that cannot be right, or never
        came, is wrong, unless neither can be."""
        other = job.variant if job.call.upstream is job.parent else job.parent
        path, body = job.call.ask(other)
        reply = await self.asker(job)(other, path, body, job.call.headers)
        answers = right(job), job.answer.again(reply).outcome(label)
        if answers == (None, None):
            return None
        known, replayed = (round(found or 0.0, 3) for found in answers)
        return (replayed, known) if other is job.variant else (known, replayed)

    async def compare_agreement(self, job: Replay) -> ShadowAgreement:
        ask, task = self.asker(job), self.upstreams.models[job.parent.served.model].task
        if task == "text-generation":
            assert job.chosen.document is not None
            text, tokens = job.answer.answered()
            if not text or not tokens:
                raise EngineError("the answer is empty")
            return await compare_text(ask, job.parent, job.variant, job.chosen.path, job.chosen.document, text, tokens)
        replies = [job.answer.reply()]
        for upstream in (job.variant, job.parent):
            path, body = job.call.ask(upstream)
            replies.append(await ask(upstream, path, body, job.call.headers))
        compare = {
            "feature-extraction": compare_embeddings,
            "object-detection": compare_boxes,
            "image-generation": compare_pictures,
        }.get(task, compare_labels)
        return compare(replies)

    def asker(self, job: Replay) -> Ask:
        """Asks an engine, and notes which."""

        async def ask(upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            job.asking = upstream
            return await self.relay.ask_out_of_band(upstream, path, body, headers)

        return ask


def right(job: Replay) -> float | None:
    """How right the client's answer was; None where that cannot be said."""
    if job.chosen.label is None or not labelled(job):
        return None
    return job.answer.outcome(job.chosen.label) if job.call.status == 200 else 0.0


def labelled(job: Replay) -> bool:
    """Whether it is compared by what is right. Tokens of a stream carry no likelihoods of labels."""
    return job.chosen.label is not None and not job.call.streamed
