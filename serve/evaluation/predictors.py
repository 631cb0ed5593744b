"""Asks one engine for labels, as a client would: the `predict` that `variants.evaluation.evaluate` is handed.

Text: one token, greedy, with the same large bias on each label's first token, so that the likeliest label wins
(Brown et al. 2020, arXiv 2005.14165, section 2.4, for choosing among labels by likelihood). Images and articles: the
top label; ranked: the first five. Triplets: three embeddings in one request, and which of two is nearer to the first.
Boxes: all that are found. Drawings: the digit that the classifier reads in the picture. Choices and passages:
`serve.evaluation.likelihood`.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import aiohttp

from serve.evaluation.engine_client import answered
from serve.evaluation.likelihood import Likelihood, choice_predictor, passage_predictor
from serve.protocols.open_inference import HEADER_LENGTH, RequestedOutput, bytes_tensor, encode_request, parse_response
from variants.metrics.scoring import first_tokens, nearer, numbers_of
from variants.tasks import Example, Prompt, Task
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.digit_classifier.store import load_or_train
from variants.vision.boxes import from_tensors, to_text

Predict = Callable[[Example], Awaitable[str]]
BIAS = 100
RANKED = 5


async def predictor(session: aiohttp.ClientSession, url: str, name: str, task: Task) -> Predict:
    """A predict for `task` by the model `name` at `url`. Raises EngineError."""
    if task.kind == "image":
        return image_predictor(session, f"{url}/v2/models/{name}/infer")
    if task.kind == "ranked":
        return ranked_predictor(session, f"{url}/v2/models/{name}/infer")
    if task.kind == "article":
        return article_predictor(session, f"{url}/v2/models/{name}/infer")
    if task.kind == "triplet":
        return triplet_predictor(session, url, name)
    if task.kind == "boxes":
        return boxes_predictor(session, f"{url}/v2/models/{name}/infer")
    if task.kind == "choice":
        return choice_predictor(Likelihood(session, url, name))
    if task.kind == "passage":
        return passage_predictor(Likelihood(session, url, name))
    if task.kind == "drawing":
        return Drawings(session, url, name, await asyncio.to_thread(load_or_train))
    return await text_predictor(session, url, name, task)


async def text_predictor(session: aiohttp.ClientSession, url: str, name: str, task: Task) -> Predict:
    encoded = []
    for label in task.labels:
        body = {"model": name, "prompt": label, "add_special_tokens": False}
        found, _ = await answered(session.post(f"{url}/tokenize", json=body))
        encoded.append(json.loads(found)["tokens"])
    bias = {str(token): BIAS for token in first_tokens(encoded, task.labels)}

    async def predict(example: Example) -> str:
        body = {"model": name, "prompt": example.input, "max_tokens": 1, "temperature": 0, "logit_bias": bias}
        found, _ = await answered(session.post(f"{url}/v1/completions", json=body))
        return str(json.loads(found)["choices"][0]["text"])

    return predict


def image_predictor(session: aiohttp.ClientSession, url: str) -> Predict:
    async def predict(example: Example) -> str:
        assert isinstance(example.input, bytes)
        return await top_label(session, url, "image", example.input)

    return predict


def boxes_predictor(session: aiohttp.ClientSession, url: str) -> Predict:
    async def predict(example: Example) -> str:
        assert isinstance(example.input, bytes)
        body, length = encode_request([bytes_tensor("image", [example.input])], binary=True)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        outputs = parse_response(*await answered(session.post(url, data=body, headers=headers)))
        return to_text(from_tensors(outputs["boxes"].tolist(), outputs["scores"].tolist(), outputs["labels"].tolist()))

    return predict


def article_predictor(session: aiohttp.ClientSession, url: str) -> Predict:
    async def predict(example: Example) -> str:
        assert isinstance(example.input, str)
        return await top_label(session, url, "text", example.input.encode())

    return predict


def ranked_predictor(session: aiohttp.ClientSession, url: str) -> Predict:
    """Answers with the first five labels, one a line, best first."""
    outputs = (RequestedOutput("scores", binary=True, classification=RANKED),)

    async def predict(example: Example) -> str:
        assert isinstance(example.input, bytes)
        body, length = encode_request([bytes_tensor("image", [example.input])], binary=True, outputs=outputs)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        found = parse_response(*await answered(session.post(url, data=body, headers=headers)))
        return "\n".join(entry.decode().split(":", 2)[2] for entry in found["scores"].ravel())

    return predict


async def top_label(session: aiohttp.ClientSession, url: str, tensor: str, element: bytes) -> str:
    """What a classifier calls one example, which is sent as the one element of the tensor of that name."""
    body, length = encode_request([bytes_tensor(tensor, [element])], binary=True)
    headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
    outputs = parse_response(*await answered(session.post(url, data=body, headers=headers)))
    return str(outputs["labels"].ravel()[0].decode())


def triplet_predictor(session: aiohttp.ClientSession, url: str, name: str) -> Predict:
    async def predict(example: Example) -> str:
        body = {"model": name, "input": example.input, "encoding_format": "base64"}
        found, _ = await answered(session.post(f"{url}/v1/embeddings", json=body))
        return nearer([numbers_of(entry["embedding"]) for entry in json.loads(found)["data"]])

    return predict


class Drawings:
    """The predict of a generator; `pictures` keeps each PNG by its example, for what is said of all together."""

    def __init__(self, session: aiohttp.ClientSession, url: str, name: str, classifier: DigitClassifier) -> None:
        self.session, self.url, self.name, self.classifier = session, f"{url}/v1/images/generations", name, classifier
        self.pictures: dict[str, bytes] = {}

    async def __call__(self, example: Example) -> str:
        assert isinstance(example.input, Prompt)
        body = {"model": self.name, "prompt": example.input.text, "seed": example.input.seed}
        found, _ = await answered(self.session.post(self.url, json=body))
        picture = base64.b64decode(json.loads(found)["data"][0]["b64_json"])
        self.pictures[example.id] = picture
        return self.classifier.read(picture)
