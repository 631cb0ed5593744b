"""A small real request to an engine, and a check of its answer: one token, one word, one tiny image.

It shows what `/health` does not: a hung computation, numbers that are not finite, answers of a wrong shape. An engine
that refuses the request (4xx) works: the request does not suit this model, which is no fault of the engine.
"""

import asyncio
import base64
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from PIL import Image

from serve.engines.cpu_priority import is_lowered
from serve.engines.endpoint import EngineDown
from serve.engines.process import EngineProcess
from variants.artifacts.manifest import Manifest, TaskKind

LIMITS_S: dict[TaskKind, float] = {"image-generation": 25.0}
LIMIT_S = 15.0
SIDE, ENDING_S = 32, 0.5


@dataclass(frozen=True)
class Probe:
    """A request, and what is wrong with the JSON that answers it (an empty string: nothing)."""

    path: str
    body: dict[str, Any]
    fault_of: Callable[[dict[str, Any]], str]
    limit_s: float = LIMIT_S

    async def ask(self, engine: EngineProcess) -> None:
        """Raises EngineDown: `hung` without an answer in time, `wrong` for a 5xx or a wrong answer.

        An engine at the lowest CPU priority may have no time to answer, so its silence is no fault."""
        engine.check()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self.limit_s)) as session,
                session.post(engine.url + self.path, json=self.body, headers=engine.headers) as answer,
            ):
                status, content = answer.status, await answer.read()
        except TimeoutError:
            if is_lowered(engine.pid):
                return
            raise down(engine, f"did not answer a test request within {self.limit_s:g} s", "hung") from None
        except aiohttp.ClientError as error:
            await asyncio.sleep(ENDING_S)  # a process that ends closes its connections first
            engine.check()
            raise down(engine, f"broke off a test request: {error}", "hung") from error
        if status >= 500:
            raise down(engine, f"answers a test request with status {status}", "wrong")
        if status == 200 and (fault := self.fault_in(content)):
            raise down(engine, f"answers a test request wrongly: {fault}", "wrong")

    def fault_in(self, content: bytes) -> str:
        try:
            return self.fault_of(json.loads(content))
        except (ValueError, LookupError, TypeError, AttributeError, OSError):  # OSError: Pillow, for what is no picture
            return "the answer has not the form of its protocol"


def down(engine: EngineProcess, what: str, why: Any) -> EngineDown:
    return EngineDown(f"the engine of {engine.name} {what}", mend=f"see {engine.log}", why=why)


def probe_of(manifest: Manifest, name: str) -> Probe:
    """The probe for an engine that serves a model of `manifest` under the model name `name`."""
    infer = f"/v2/models/{name}/infer"
    limit_s = LIMITS_S.get(manifest.task, LIMIT_S)
    match manifest.task:
        case "text-generation":
            body = {"model": name, "prompt": "a", "max_tokens": 1, "temperature": 0, "logprobs": 1, "ignore_eos": True}
            return Probe("/v1/completions", body, fault_of_text, limit_s)
        case "feature-extraction":
            return Probe("/v1/embeddings", {"model": name, "input": "a"}, fault_of_embedding, limit_s)
        case "image-generation":
            small = {"prompt": "a", "size": "64x64", "num_inference_steps": 2}
            asked = {"prompt": manifest.labels[0]} if manifest.labels else small
            return Probe("/v1/images/generations", {"model": name, "seed": 1, **asked}, fault_of_image, limit_s)
        case "text-classification":
            return Probe(infer, bytes_input("text", "a"), scores_check(manifest), limit_s)
        case "object-detection":
            return Probe(infer, bytes_input("image", tiny_image()), fault_of_boxes, limit_s)
        case "image-classification":
            return Probe(infer, bytes_input("image", tiny_image()), scores_check(manifest), limit_s)


def bytes_input(name: str, value: str) -> dict[str, Any]:
    return {"inputs": [{"name": name, "datatype": "BYTES", "shape": [1], "data": [value]}]}


def tiny_image() -> str:
    """A grey PNG of 32 x 32 pixels, in base64."""
    file = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (127, 127, 127)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def fault_of_text(answer: dict[str, Any]) -> str:
    (choice,) = answer["choices"]
    if not isinstance(choice["text"], str) or answer["usage"]["completion_tokens"] != 1:
        return "it has not exactly one token"
    scores = choice["logprobs"]["token_logprobs"]
    return "" if len(scores) == 1 and finite(scores) else "a log probability is not finite"


def fault_of_embedding(answer: dict[str, Any]) -> str:
    (row,) = answer["data"]
    numbers = row["embedding"]
    if not numbers:
        return "the embedding is empty"
    return "" if finite(numbers) and any(numbers) else "the embedding is zero or not finite"


def fault_of_image(answer: dict[str, Any]) -> str:
    (image,) = answer["data"]
    with Image.open(io.BytesIO(base64.b64decode(image["b64_json"], validate=True))) as picture:
        picture.load()
    return ""


def scores_check(manifest: Manifest) -> Callable[[dict[str, Any]], str]:
    """A check for one row of scores, one for each label of the manifest."""
    labels = manifest.labels

    def fault_of_scores(answer: dict[str, Any]) -> str:
        scores = output(answer, "scores")
        shape = scores["shape"]
        if len(shape) != 2 or shape[0] != 1 or len(scores["data"]) != shape[1] or not shape[1]:
            return f"the scores have shape {shape}"
        if labels is not None and shape[1] != len(labels):
            return f"it has {shape[1]} scores for {len(labels)} labels"
        return "" if finite(scores["data"]) else "a score is not finite"

    return fault_of_scores


def fault_of_boxes(answer: dict[str, Any]) -> str:
    boxes, scores, labels = (output(answer, name) for name in ("boxes", "scores", "labels"))
    count = scores["shape"][0]
    if boxes["shape"] != [count, 4] or labels["shape"] != [count] or len(boxes["data"]) != 4 * count:
        return "boxes, scores and labels have different lengths"
    return "" if finite([*boxes["data"], *scores["data"]]) else "a box or a score is not finite"


def output(answer: dict[str, Any], name: str) -> dict[str, Any]:
    """An output of a v2 answer. Raises ValueError where it is missing."""
    for each in answer["outputs"]:
        if each["name"] == name:
            return dict(each)
    raise ValueError(name)


def finite(numbers: list[Any]) -> bool:
    return all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
