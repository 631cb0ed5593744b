"""Shadow pairs: a share of requests is answered by one variant and afterwards, off the client's path, compared with
what another says to the same request.

Which requests are compared is decided by a hash of the request's id before anything else is looked at, so that a busy
moment cannot choose. A labelled request is asked again of the other side and both answers are scored; the others are
compared by agreement (`serve.comparing`), but never an adapter's, whose point is to answer otherwise.

Replays take what capacity is left. Where only they ask the variant, its engine gives way to every other process
(`serve.spare`), and a few of them begin in each calm moment. Elsewhere they wait for a quiet one and begin one at a
time (`serve.moments`). One that waits too long, or finds the queue full, is dropped and counted. What is kept of a pair
is digests, lengths and scores; texts and images are gone once it is scored.
"""

import asyncio
import hashlib
import logging
import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from serve import metrics
from serve.api.http import Scope, header
from serve.comparing import (
    Agreement,
    Ask,
    comparable_text,
    compare_boxes,
    compare_embeddings,
    compare_labels,
    compare_text,
)
from serve.fleet import Fleet
from serve.moments import LOOK_S, Moments
from serve.outcomes import Outcomes, Shadowed
from serve.relay import Call, Relay, Reply
from serve.router import Target
from serve.seat import Seat
from variants.boxes import Box
from variants.errors import EngineError, UnderstudyError

Label = str | list[Box]
"""What is right: a label, or a detector's boxes."""
log = logging.getLogger("understudy.shadow")
QUEUE = 256
WAIT_S = 30.0
"""A replay that found no quiet moment for so long is dropped."""
AT_ONCE = 4
"""Replays on their way to engines that give way: together they cost less than one by one."""
REPLAY_LIMIT_S = 60.0


class Scored(Protocol):
    """A protocol's answer that has been kept whole."""

    def outcome(self, label: Label) -> float | None:
        """How right the answer is, 0 to 1; None where that cannot be said."""

    def answered(self) -> tuple[str, int]:
        """The text of the answer and its number of tokens; of no use for tensors."""

    def again(self, reply: Reply) -> "Scored":
        """An answer of the same kind from another engine's reply."""

    def reply(self) -> Reply:
        """The answer as the engine gave it."""


@dataclass(frozen=True)
class Chosen:
    """A request that is to be compared by `variant`, before it is known who answers it."""

    variant: str
    request: str
    length: int
    label: Label | None
    document: dict[str, Any] | None
    path: str


@dataclass
class Job:
    chosen: Chosen
    call: Call
    answer: Scored
    parent: Seat
    variant: Seat
    since: float = field(default_factory=time.monotonic)


class Shadows:
    """One ingress' replays."""

    def __init__(self, fleet: Fleet, relay: Relay, outcomes: Outcomes) -> None:
        self.fleet, self.relay, self.outcomes = fleet, relay, outcomes
        self.queue: asyncio.Queue[Job] = asyncio.Queue(QUEUE)
        self.tasks: list[asyncio.Task[None]] = []
        self.moments = Moments(fleet)
        self.alone = asyncio.Lock()
        """Held by the replay that is asked of engines that do not give way."""

    async def start(self) -> None:
        self.tasks = [asyncio.create_task(self.work()) for _ in range(AT_ONCE)]
        self.tasks.append(asyncio.create_task(self.moments.watch()))

    async def stop(self) -> None:
        """End; what still waits is dropped."""
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        while not self.queue.empty():
            self.drop(self.queue.get_nowait(), "dropped_late")

    def choose(
        self,
        scope: Scope,
        target: Target,
        path: str,
        body: bytes,
        label: Label | None,
        document: dict[str, Any] | None = None,
    ) -> list[Chosen]:
        """Which shadows compare this request; by its id's hash, before load is looked at. `body` is what the client
        sent, `document` the same read. A request that names its variant is not the router's, and is left alone."""
        shares = self.fleet.live.traffic[target.model].traffic.shadows
        if not shares or target.variant or path == "/tokenize" or header(scope, "x-understudy-shadow") == "off":
            return []
        named = header(scope, "x-request-id") or ""
        found = []
        for variant, share in shares.items():
            seat = self.fleet.seats[target.model][variant]
            agreeable = seat.live.adapter is None and (document is None or comparable_text(path, document))
            agreeable = agreeable or path == "/v1/embeddings"
            if (label is None or bool((document or {}).get("stream"))) and not agreeable:
                continue
            if fraction(f"{named}\0{variant}".encode()) < share:
                digest = hashlib.sha256(path.encode() + b"\0" + body).hexdigest()[:32]
                found.append(Chosen(variant, digest, len(body), label, document, path))
        return found

    def offer(self, chosen: list[Chosen], call: Call, answer: Scored) -> None:
        """A chosen request has been answered: compare it when there is time. Not those that failed, nor those that a
        third variant answered."""
        if call.status != 200 or call.seat is None or call.assignment is None:
            return
        seats = self.fleet.seats.get(call.assignment.model, {})
        for each in chosen:
            variant = seats.get(each.variant)
            parent = seats.get(self.parent_of(call.assignment.model, each.variant) or "")
            if variant is None or parent is None or call.seat not in (parent, variant):
                continue
            if call.seat is variant and each.label is None:
                continue  # agreement is with the parent's answer
            job = Job(each, call, answer, parent, variant)
            self.shadowed(job).chosen += 1
            metrics.shadows_waiting.labels(*variant.labels).inc()
            try:
                self.queue.put_nowait(job)
            except asyncio.QueueFull:
                self.drop(job, "dropped_full")

    def parent_of(self, model: str, variant: str) -> str | None:
        found = self.fleet.models[model].variants.get(variant)
        return found.parent if found else None

    def drop(self, job: Job, why: str) -> None:
        self.shadowed(job).dropped.append(job.chosen.length)
        self.ended(job, why)

    def ended(self, job: Job, outcome: str) -> None:
        metrics.shadows.labels(*job.variant.labels, outcome).inc()
        metrics.shadows_waiting.labels(*job.variant.labels).dec()

    def shadowed(self, job: Job) -> Shadowed:
        """Where to count: a batch may have been told since the job was chosen."""
        pair = f"{job.parent.manifest.digest}:{job.variant.manifest.digest}"
        return self.outcomes.shadowed(job.parent.live.model, pair)

    def quiet(self, job: Job) -> bool:
        """Whether this is a moment for a replay."""
        waited_s, crowded = time.monotonic() - job.since, self.queue.qsize() >= QUEUE // 2
        if self.gives_way(job):
            return self.moments.calm(waited_s, crowded)
        return not self.alone.locked() and self.moments.quiet(waited_s, crowded)

    def gives_way(self, job: Job) -> bool:
        """Whether all that is asked for this pair is asked of an engine that may do with what is left."""
        labelled = job.chosen.label is not None and not job.call.streamed
        return labelled and job.call.seat is job.parent and job.variant.unasked

    async def work(self) -> None:
        while True:
            job = await self.queue.get()
            try:
                await self.replay(job)
            except asyncio.CancelledError:
                self.drop(job, "dropped_late")
                raise

    async def replay(self, job: Job) -> None:
        """When there is a quiet moment for it. Never raises."""
        while not self.quiet(job):
            if time.monotonic() - job.since >= WAIT_S:
                self.drop(job, "dropped_late")
                return
            await asyncio.sleep(LOOK_S)
        gives_way = self.gives_way(job)
        try:
            async with asyncio.timeout(REPLAY_LIMIT_S):
                if job.variant.unasked:
                    await job.variant.give_way()
                async with nullcontext() if gives_way else self.alone:
                    await self.compare(job)
        except TimeoutError:
            if gives_way:  # nothing was left for it: no fault of the variant's
                self.drop(job, "dropped_late")
            else:
                self.failed(job, f"nothing after {REPLAY_LIMIT_S:g} s")
        except (UnderstudyError, aiohttp.ClientError) as error:
            self.failed(job, str(error))
        except Exception as error:
            log.exception("a comparison failed")
            self.failed(job, repr(error))

    def failed(self, job: Job, why: str) -> None:
        log.warning("%s did not answer a shadow: %s", job.variant.name, why)
        self.shadowed(job).failed += 1
        self.ended(job, "failed")

    async def compare(self, job: Job) -> None:
        """Ask, score, count. Raises EngineError, TimeoutError."""
        if job.chosen.label is not None and not job.call.streamed:
            values = await self.compare_right(job, job.chosen.label)
            if values is None:
                self.failed(job, "its answer says nothing that could be right")
                return
            pair: dict[str, Any] = {"metric": "quality", "values": values}
        else:
            agreement = await self.compare_agreement(job)
            values = round(agreement.variant, 3), round(agreement.floor, 3)
            pair = {"metric": "agreement", "values": values, "divergence": agreement.divergence}
            metrics.agreement.labels(*job.variant.labels, "variant").observe(agreement.variant)
            metrics.agreement.labels(*job.variant.labels, "parent").observe(agreement.floor)
        self.shadowed(job).pairs.append({"request": job.chosen.request, "length": job.chosen.length, **pair})
        self.ended(job, "compared")

    async def compare_right(self, job: Job, label: Label) -> tuple[float, float] | None:
        """The variant's correctness and its parent's, on one labelled request."""
        other = job.variant if job.call.seat is job.parent else job.parent
        path, body = job.call.ask(other)
        reply = await self.ask(other, path, body, job.call.headers)
        known, replayed = job.answer.outcome(label), job.answer.again(reply).outcome(label)
        if known is None or replayed is None:
            return None
        known, replayed = round(known, 3), round(replayed, 3)
        return (replayed, known) if other is job.variant else (known, replayed)

    async def compare_agreement(self, job: Job) -> Agreement:
        task = self.fleet.models[job.parent.live.model].task
        if task == "text-generation":
            assert job.chosen.document is not None
            text, tokens = job.answer.answered()
            if not text or not tokens:
                raise EngineError("the answer is empty")
            return await compare_text(
                self.ask, job.parent, job.variant, job.chosen.path, job.chosen.document, text, tokens
            )
        replies = [job.answer.reply()]
        for seat in (job.variant, job.parent):
            path, body = job.call.ask(seat)
            replies.append(await self.ask(seat, path, body, job.call.headers))
        compare = {"feature-extraction": compare_embeddings, "object-detection": compare_boxes}.get(
            task, compare_labels
        )
        return compare(replies)

    @property
    def ask(self) -> Ask:
        return self.relay.ask_aside


def fraction(data: bytes) -> float:
    """A hash of `data` as a number in [0, 1)."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") / 2**64
