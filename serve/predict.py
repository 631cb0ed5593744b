"""Asks one engine for labels, as a client would: the `predict` that `variants.evaluate` is handed.

Text: one token, greedy, with the same large bias on each label's first token, so that the likeliest label wins
(Brown et al. 2020, arXiv 2005.14165, section 2.4, for choosing among labels by likelihood). Images: the top label.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from serve.open_inference import HEADER_LENGTH, bytes_tensor, encode_request, parse_response
from variants.errors import EngineError
from variants.scoring import first_tokens
from variants.tasks import Example, Task

Predict = Callable[[Example], Awaitable[str]]
BIAS = 100


async def predictor(session: aiohttp.ClientSession, url: str, name: str, task: Task) -> Predict:
    """A predict for `task` by the model `name` at `url`. Raises EngineError."""
    if task.kind == "image":
        return image_predictor(session, f"{url}/v2/models/{name}/infer")
    return await text_predictor(session, url, name, task)


async def text_predictor(session: aiohttp.ClientSession, url: str, name: str, task: Task) -> Predict:
    encoded = []
    for label in task.labels:
        body = {"model": name, "prompt": label, "add_special_tokens": False}
        async with session.post(f"{url}/tokenize", json=body) as answer:
            encoded.append((await document(answer))["tokens"])
    bias = {str(token): BIAS for token in first_tokens(encoded, task.labels)}

    async def predict(example: Example) -> str:
        body = {"model": name, "prompt": example.input, "max_tokens": 1, "temperature": 0, "logit_bias": bias}
        async with session.post(f"{url}/v1/completions", json=body) as answer:
            return str((await document(answer))["choices"][0]["text"])

    return predict


def image_predictor(session: aiohttp.ClientSession, url: str) -> Predict:
    async def predict(example: Example) -> str:
        assert isinstance(example.input, bytes)
        body, length = encode_request([bytes_tensor("image", [example.input])], binary=True)
        headers = {HEADER_LENGTH: str(length), "content-type": "application/octet-stream"}
        async with session.post(url, data=body, headers=headers) as answer:
            if answer.status != 200:
                raise EngineError(f"{url} answered {answer.status}: {(await answer.text())[:200]}")
            outputs = parse_response(await answer.read(), answer.headers.get(HEADER_LENGTH))
            return str(outputs["labels"].ravel()[0].decode())

    return predict


async def document(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """The JSON object of a good answer. Raises EngineError."""
    if answer.status != 200:
        raise EngineError(f"{answer.url.path} answered {answer.status}: {(await answer.text())[:200]}")
    return dict(await answer.json())
