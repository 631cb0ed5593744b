"""A judge: a language model that says which of two answers that differ is better.

It is asked in both orders, and sees no names. A tie is allowed. Two orders that disagree are a tie: they show that the
place decided and not the answer (L. Zheng et al. 2023, arXiv 2306.05685, on position bias). An answer that is not A, B
or tie is unusable. A pair without a usable opinion stays lost (`serve.control.opinion_counts`).

Questions wait like replays, and few run at once. So a judge of the same stack costs clients nothing.
"""

import asyncio
import json
import logging
import os
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from math import ceil
from typing import Any

from serve import metrics
from serve.config.judge import Judge
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.upstream import Upstream
from serve.dataplane.upstreams import Upstreams
from serve.errors import NotReady
from serve.shadow.load_gate import LOOK_S, LoadGate
from serve.shadow.opinions.difference import Difference
from variants.errors import EngineError
from variants.evidence.gate import CLIENT_SHARE

log = logging.getLogger("understudy.judge")
QUEUE = 256
MOST_OF_A_CLIENT = ceil(CLIENT_SHARE * QUEUE)
"""Questions of one client that may wait, unless its key is trusted to label."""
MOST_OF_A_KEY = QUEUE // 2
"""The same for one key, whose clients choose their names."""
AT_ONCE = 2
WAIT_S = 300.0
"""A question that was not admitted for this time is dropped."""
LIMIT_S = 60.0
"""Time limit of one answer of the judge."""
MEASURED = 100
"""So many pairs with a trusted label show how far a judge agrees with labels; about more it is not asked."""
MOST_TOKENS = 8
CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}
FORM = "Answer with one word and nothing else: A, B or tie."
SAYS = {"a": 1, "b": -1, "tie": 0}
"""What the first answer is worth by the judge's word."""
RESULTS = {1: "variant", 0: "tie", -1: "parent"}
Place = tuple[str, str | None]
"""Whose questions wait: of a client or of a key, by its hash."""
Count = Callable[[Difference, int], object]


class Judges:
    """One ingress' questions to judges. `count` is told each outcome: 1, the variant's answer is better, 0 or -1."""

    def __init__(self, upstreams: Upstreams, relay: Relay, load_gate: LoadGate, count: Count) -> None:
        self.upstreams, self.relay, self.load_gate, self.count = upstreams, relay, load_gate, count
        self.queue: asyncio.Queue[tuple[Difference, float]] = asyncio.Queue(QUEUE)
        self.measured: Counter[str] = Counter()
        self.waiting: Counter[Place] = Counter()
        self.tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self.tasks = [asyncio.create_task(self.work()) for _ in range(AT_ONCE)]

    async def stop(self) -> None:
        """Stop; questions that wait are dropped."""
        for task in self.tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def judge_of(self, model: str) -> Judge | None:
        settings = self.upstreams.models.get(model)
        return settings.judge if settings else None

    def offer(self, difference: Difference) -> None:
        """Queue a pair if its model has a judge, and the pair is of texts.

        Where the server has keys, a label of one that is not trusted says nothing about the judge."""
        if self.judge_of(difference.model) is None or difference.prompt is None:
            return
        measures = difference.known is not None and difference.pair["trusted"]
        if measures and self.measured[difference.key] >= MEASURED:
            return
        if not measures and self.upstreams.snapshot.stack.server.keys:
            difference = replace(difference, known=None)
        bounds = bounds_of(difference)
        if difference.is_too_long:
            note(difference, "too_long")
        elif self.queue.full():
            note(difference, "dropped_full")
        elif any(self.waiting[place] >= most for place, most in bounds.items()):
            note(difference, "over_share")
        else:
            self.waiting.update(bounds.keys())
            self.measured.update([difference.key] if measures else [])
            self.queue.put_nowait((difference, time.monotonic()))

    async def next(self) -> tuple[Difference, float]:
        """The pair that has waited longest, and since when."""
        difference, since = await self.queue.get()
        self.waiting -= Counter(bounds_of(difference).keys())
        return difference, since

    async def work(self) -> None:
        while True:
            difference, since = await self.next()
            judge = self.judge_of(difference.model)
            if judge is None:
                continue
            if not await self.admitted(judge, since):
                note(difference, "dropped_late")
                continue
            outcome, result = await self.opinion(judge, difference)
            note(difference, result)
            if outcome is not None:
                self.count(difference, outcome)

    async def admitted(self, judge: Judge, since: float) -> bool:
        """Wait until the load allows a question to a model of this stack. False where that takes too long."""
        while judge.url is None:
            waited_s = time.monotonic() - since
            if self.load_gate.admits(waited_s, self.queue.qsize() >= QUEUE // 2):
                return True
            if waited_s >= WAIT_S:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def opinion(self, judge: Judge, difference: Difference) -> tuple[int | None, str]:
        """The outcome, None without a usable one, and the name of what came of it."""
        variant, parent = difference.answers
        try:
            first = await self.ask(judge, difference.prompt or "", variant, parent)
            second = None if first is None else await self.ask(judge, difference.prompt or "", parent, variant)
        except TimeoutError:
            return None, "timed_out"
        except Exception as error:  # whatever an address answers must not end the asking
            log.warning("the judge of %s did not answer: %s", difference.model, error)
            return None, "failed"
        if first is None or second is None:
            return None, "unusable"
        outcome = first if first == -second else 0
        return outcome, RESULTS[outcome]

    async def ask(self, judge: Judge, prompt: str, first: str, second: str) -> int | None:
        """1 where the judge prefers the first answer, -1 the second, 0 neither; None for anything else that it says.

        Raises TimeoutError, UnderstudyError, aiohttp.ClientError, ValueError, LookupError, TypeError."""
        body = question(judge, prompt, first, second)
        async with asyncio.timeout(LIMIT_S):
            document = await (self.ask_address(judge, body) if judge.url else self.ask_stack(judge, body))
        return SAYS.get(str(document["choices"][0]["message"]["content"]).strip().rstrip(".").lower())

    async def ask_stack(self, judge: Judge, body: dict[str, Any]) -> dict[str, Any]:
        upstream = self.upstream_of(judge)
        document = json.dumps(body | {"model": upstream.served.asked_as}).encode()
        return dict(json.loads((await self.relay.ask_out_of_band(upstream, CHAT, document, JSON)).body))

    async def ask_address(self, judge: Judge, body: dict[str, Any]) -> dict[str, Any]:
        assert self.relay.session is not None
        assert judge.url is not None
        key = os.environ.get(judge.key_env) if judge.key_env else None
        headers = JSON | ({"authorization": f"Bearer {key}"} if key else {})
        url = judge.url.rstrip("/") + "/chat/completions"
        async with self.relay.session.post(
            url, data=json.dumps(body), headers=headers, allow_redirects=False
        ) as answer:
            if answer.status != 200:
                raise EngineError(f"{judge.url} answered {answer.status}")
            return dict(await answer.json(content_type=None))

    def upstream_of(self, judge: Judge) -> Upstream:
        """The variant that judges: the one that is named, or the ready one with the largest share. Raises NotReady,
        UnknownName."""
        target = self.upstreams.resolved(Target.parse(judge.model))
        named = [each for name, each in self.upstreams.model(target.model).items() if target.variant in (None, name)]
        ready = [each for each in named if each.endpoint is not None]
        if not ready:
            raise NotReady(f"the judge {judge.model} is not ready")
        return max(ready, key=lambda each: each.served.weight)


def question(judge: Judge, prompt: str, first: str, second: str) -> dict[str, Any]:
    """A chat that asks which of two answers is better."""
    shown = f"The request:\n{prompt}\n\nAnswer A:\n{first}\n\nAnswer B:\n{second}\n\nWhich is better? {FORM}"
    messages = [{"role": "system", "content": f"{judge.instruction}\n{FORM}"}, {"role": "user", "content": shown}]
    return {"model": judge.model, "messages": messages, "temperature": 0, "max_tokens": MOST_TOKENS}


def bounds_of(difference: Difference) -> dict[Place, int]:
    """How many questions of its client and of its key may wait. None of a key that is trusted to label is bounded."""
    if difference.pair["trusted"]:
        return {}
    bounds = {("client", difference.pair["client"]): MOST_OF_A_CLIENT, ("key", difference.sender): MOST_OF_A_KEY}
    return {place: most for place, most in bounds.items() if place[1] is not None}


def note(difference: Difference, result: str) -> None:
    metrics.judged.labels(difference.model, difference.variant, result).inc()
