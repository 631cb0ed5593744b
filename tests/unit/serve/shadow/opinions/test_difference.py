"""What a pair shows to people and judges: texts and classes, without images."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.dataplane.call import Reply
from serve.protocols.open_inference import bytes_tensor, encode_request, encode_response, parse_request
from serve.shadow.opinions.difference import answer_of, classes_of, prompt_of
from variants.evidence.free_running import FreeAnswer

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]},
    {"role": "assistant", "content": None},
]


@pytest.mark.parametrize(
    ("document", "prompt"),
    [
        ({"prompt": "A colour:"}, "A colour:"),
        ({"messages": CHAT}, "system: Be brief.\nuser: What is it?\n[image_url left out]\nassistant: "),
    ],
)
def test_a_prompt_is_shown_as_text(document: dict[str, Any], prompt: str) -> None:
    assert prompt_of("text-generation", document, cast(Any, None), cast(Any, None)) == prompt


def test_the_texts_of_a_classifiers_request_are_shown() -> None:
    body, length = encode_request([bytes_tensor("text", [b"good", b"bad"])], binary=False)
    call = SimpleNamespace(
        ask=lambda upstream: ("/infer", body),
        headers={} if length is None else {"inference-header-content-length": str(length)},
    )
    assert prompt_of("text-classification", None, cast(Any, call), cast(Any, None)) == "good\nbad"
    assert prompt_of("image-classification", None, cast(Any, call), cast(Any, None)) is None


def test_classes_are_an_answer_and_other_tensors_are_none() -> None:
    request = parse_request(encode_request([bytes_tensor("text", [b"good"])], binary=False)[0])
    for name, shown in (("labels", FreeAnswer("pos, neg")), ("boxes", None)):
        body, length = encode_response("m", [bytes_tensor(name, [b"pos", b"neg"])], request)
        reply = Reply(body, None if length is None else str(length))
        assert classes_of(reply) == shown
        answer = cast(Any, SimpleNamespace(reply=lambda reply=reply: reply))
        assert answer_of("text-classification", answer) == shown
        assert answer_of("object-detection", answer) is None
