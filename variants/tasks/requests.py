"""The HTTP request that asks a model about one example of a task, by the task's kind. Nothing is sent here.

Evaluation and load tests send these requests, `variants.tasks.responses` reads what comes back. Prompts go to OpenAI's
completions, chats to its chat completions, triplets and pairs to its embeddings, drawings and pictures to its images.
Images and articles go to the Open Inference Protocol v2. Answers are JSON.

A text task asks for one token, greedily. `logit_bias` is the same large number for each label's first token, so the
likeliest label wins (Brown et al. 2020, arXiv 2005.14165, section 2.4). A choice is asked as passages: its context with
each ending.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from variants.metrics.scoring import first_tokens
from variants.tasks.base import Chat, Input, Prompt

BIAS = 100
RANKED = 5
"""Labels that a `ranked` task asks for."""
TENSORS = {"image": "image", "ranked": "image", "boxes": "image", "article": "text"}
"""The kinds that are asked with a tensor of protocol v2, and that tensor's name."""

EMBEDDED = ("triplet", "pair")
"""The kinds whose texts are asked for their embeddings."""
PICTURES = ("drawing", "picture")
"""The kinds whose prompts are asked for a picture."""


@dataclass(frozen=True)
class Request:
    """One POST: the path below the server's address, headers, body."""

    path: str
    headers: dict[str, str]
    body: bytes


def request_for(
    kind: str,
    model: str,
    given: Input,
    fields: Mapping[str, object] = MappingProxyType({}),
    *,
    version: str | None = None,
    outputs: Sequence[str] = (),
) -> Request:
    """Ask `model` about the example's input `given`. `version` asks one variant, whatever the traffic split.

    `fields` are added to a body of OpenAI's form, or replace a field there. `outputs` names the tensors of protocol v2
    to answer with, all of them where it is empty.
    """
    if kind in TENSORS:
        path = f"/v2/models/{model}{'' if version is None else f'/versions/{version}'}/infer"
        wanted: list[dict[str, Any]] = [{"name": name} for name in outputs]
        if kind == "ranked":
            wanted = [{"name": "scores", "parameters": {"classification": RANKED}}]
        assert isinstance(given, str | bytes)
        return _infer_request(path, TENSORS[kind], given, wanted)
    body: dict[str, object] = {"model": model if version is None else f"{model}@{version}"}
    if kind in EMBEDDED:
        return json_request("/v1/embeddings", body | {"input": given, "encoding_format": "base64"} | dict(fields))
    if kind in PICTURES:
        assert isinstance(given, Prompt)
        body |= {"prompt": given.text, "seed": given.seed, "response_format": "b64_json"}
        return json_request("/v1/images/generations", body | dict(fields))
    if isinstance(given, Chat):
        messages = [{"role": role, "content": content} for role, content in given.messages]
        body |= {"messages": messages, "max_tokens": 1, "temperature": 0}
        return json_request("/v1/chat/completions", body | dict(fields))
    body |= {"prompt": given, "max_tokens": 1, "temperature": 0}
    if kind == "passage":
        body["prompt_logprobs"] = 0  # of the prompt's own tokens, without alternatives
    return json_request("/v1/completions", body | dict(fields))


def json_request(path: str, body: Mapping[str, object]) -> Request:
    return Request(path, {"Content-Type": "application/json"}, json.dumps(body).encode())


def label_bias(encoded: Sequence[Sequence[int]], labels: Sequence[str]) -> dict[str, int]:
    """`logit_bias` for labels whose token ids are `encoded`. Raises ValueError where two share their first token."""
    return dict.fromkeys(map(str, first_tokens(encoded, labels)), BIAS)


def _infer_request(path: str, name: str, element: str | bytes, outputs: Sequence[dict[str, Any]]) -> Request:
    """A BYTES tensor of shape [1]: text in JSON, bytes after the JSON, behind their length in 4 bytes."""
    tensor: dict[str, Any] = {"name": name, "shape": [1], "datatype": "BYTES"}
    message: dict[str, Any] = {"inputs": [tensor]}
    if outputs:
        message["outputs"] = outputs
    if isinstance(element, str):
        tensor["data"] = [element]
        return json_request(path, message)
    data = len(element).to_bytes(4, "little") + element
    tensor["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(message).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
    return Request(path, headers, head + data)
