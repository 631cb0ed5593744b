"""What is kept of a request: one text that a client sent, and nothing of images, several texts or longer chats."""

import json
from typing import Any

import pytest

from serve.api.operation.kept_requests import Waiting, row_of
from serve.protocols.open_inference import HEADER_LENGTH, Tensor, bytes_tensor, encode_request
from serve.shadow.sampling import Asked

CHAT, COMPLETION, EMBEDDING = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
USER = {"role": "user", "content": "How far?"}
PARTS = [{"type": "text", "text": "How "}, {"type": "text", "text": "far?"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}


def row(path: str, document: dict[str, Any], **headers: str) -> dict[str, str] | None:
    asked = Asked(path, json.dumps(document).encode(), document=document, headers=headers)
    return row_of(Waiting("m", asked, "intents"))


@pytest.mark.parametrize(
    ("path", "document", "text", "system"),
    [
        (COMPLETION, {"prompt": "Once"}, "Once", ""),
        (COMPLETION, {"prompt": ["Once"]}, "Once", ""),
        (EMBEDDING, {"input": "Once"}, "Once", ""),
        (CHAT, {"messages": [USER]}, "How far?", ""),
        (CHAT, {"messages": [{"role": "system", "content": "Be brief."}, USER]}, "How far?", "Be brief."),
        (CHAT, {"messages": [{"role": "developer", "content": "Be brief."}, USER]}, "How far?", "Be brief."),
        (CHAT, {"messages": [{**USER, "content": PARTS}]}, "How far?", ""),
    ],
)
def test_a_text_is_kept_with_its_task(path: str, document: dict[str, Any], text: str, system: str) -> None:
    assert row(path, document) == {"text": text, "system": system, "task": "intents"}


@pytest.mark.parametrize(
    ("path", "document"),
    [
        (COMPLETION, {"prompt": ["a", "b"]}),
        (COMPLETION, {"prompt": [1, 2]}),
        (COMPLETION, {"prompt": " "}),
        (EMBEDDING, {"input": ["a", "b"]}),
        (CHAT, {"messages": [USER, {"role": "assistant", "content": "Far."}, USER]}),
        (CHAT, {"messages": [{**USER, "content": [{"type": "text", "text": "What?"}, IMAGE]}]}),
        (CHAT, {"messages": [{**USER, "content": []}]}),
        (CHAT, {"messages": []}),
        ("/tokenize", {"prompt": "Once"}),
        ("/v1/images/generations", {"prompt": "a cat"}),
    ],
)
def test_what_is_no_text_alone_is_not_kept(path: str, document: dict[str, Any]) -> None:
    assert row(path, document) is None


def test_a_label_is_kept_as_it_was_sent() -> None:
    kept = row(COMPLETION, {"prompt": "Once"}, **{"x-understudy-label": "naïve"})
    assert kept == {"text": "Once", "system": "", "task": "intents", "label": "naïve"}


@pytest.mark.parametrize("binary", [True, False])
def test_a_tensor_of_one_text_is_kept(binary: bool) -> None:
    def of(*tensors: Tensor) -> dict[str, str] | None:
        body, length = encode_request(tensors, binary=binary)
        headers = {} if length is None else {HEADER_LENGTH: str(length)}
        return row_of(Waiting("m", Asked("/infer", body, headers=headers), ""))

    assert of(bytes_tensor("text", ["à la carte".encode()])) == {"text": "à la carte", "system": "", "task": ""}
    assert of(bytes_tensor("text", [b"a", b"b"])) is None
    assert of(bytes_tensor("image", [b"a"])) is None
