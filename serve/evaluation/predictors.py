"""Asks one engine about the examples of a task, as a client would: the `predict` of `variants.evaluation.evaluate`.

A drawing's answer is the digit that the classifier reads in it. A choice's answer is the ending that is likeliest as a
whole, not by its length: what lm-evaluation-harness calls `acc`. A passage is only measured: how surprising it is, over
how many tokens. All other kinds are one request and its answer (`variants.tasks.requests`, `variants.tasks.responses`).
"""

import asyncio
import json
from functools import partial
from typing import Any

from serve.evaluation.engine_client import EngineClient
from variants.errors import InputError
from variants.evaluation.evaluate import Predict
from variants.metrics.scoring import surprise_of
from variants.tasks import Example, Task
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.digit_classifier.store import load_or_train
from variants.tasks.requests import json_request, label_bias, request_for
from variants.tasks.responses import read_answer, read_logprobs, read_picture


async def predictor(engine: EngineClient, task: Task) -> Predict:
    """A `predict` for the examples of `task`. It raises EngineError, as this does."""
    if task.kind == "choice":
        return partial(likeliest_ending, engine)
    if task.kind == "passage":
        return partial(passage_surprise, engine)
    if task.kind == "drawing":
        return Drawings(engine, await asyncio.to_thread(load_or_train))
    fields = dict(task.fields)
    if task.kind == "text":
        encoded = [(await tokenize(engine, label, add_special_tokens=False))["tokens"] for label in task.labels]
        try:
            fields["logit_bias"] = label_bias(encoded, task.labels)
        except ValueError as error:
            mend = "name them otherwise with `labels`, or end `input` with a blank, so that labels begin without one"
            raise InputError(f"{task.name}: {error}", field=f"tasks.{task.name}.labels", mend=mend) from None

    async def predict(example: Example) -> str:
        request = request_for(task.kind, engine.model, example.input, fields)
        return read_answer(task.kind, await engine.post(request)).text

    return predict


async def tokenize(engine: EngineClient, text: str, **fields: bool) -> dict[str, Any]:
    """The `tokens` of a text, by the engine's tokenizer, and their `count`."""
    body = {"model": engine.model, "prompt": text, **fields}
    answer: dict[str, Any] = json.loads(await engine.post(json_request("/tokenize", body)))
    return answer


async def logprobs(engine: EngineClient, text: str) -> list[float]:
    """The log probability, in nats, of each token of a text but the first, given all tokens before it.

    It costs one pass over the text. vLLM gives it.
    """
    return read_logprobs(await engine.post(request_for("passage", engine.model, text)))


async def ending_logprob(engine: EngineClient, context: str, ending: str) -> float:
    """The log probability, in nats, of `ending` after `context`: of all tokens after as many as the context has."""
    count = (await tokenize(engine, context))["count"]
    return sum((await logprobs(engine, context + ending))[count - 1 :])


async def likeliest_ending(engine: EngineClient, example: Example) -> str:
    """The position, from 0, of the likeliest ending of a choice; the first of equals."""
    assert isinstance(example.input, tuple)
    context, *endings = example.input
    scores = [await ending_logprob(engine, context, ending) for ending in endings]
    return str(scores.index(max(scores)))


async def passage_surprise(engine: EngineClient, example: Example) -> str:
    """How surprising a passage is, as `variants.metrics.scoring.surprise` reads it."""
    tokens = await logprobs(engine, str(example.input))
    return surprise_of(-sum(tokens), len(tokens))


class Drawings:
    """The `predict` of an image generator. `pictures` keeps each PNG by its example's id, to compare all of them with
    real ones."""

    def __init__(self, engine: EngineClient, classifier: DigitClassifier) -> None:
        self.engine, self.classifier = engine, classifier
        self.pictures: dict[str, bytes] = {}

    async def __call__(self, example: Example) -> str:
        request = request_for("drawing", self.engine.model, example.input)
        picture = self.pictures[example.id] = read_picture(await self.engine.post(request))
        return self.classifier.read(picture)
