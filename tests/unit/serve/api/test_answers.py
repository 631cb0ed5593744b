"""First token, last token and token count of a stream, also of one that does not end."""

import json
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from serve.api.answers import TensorAnswer, TextAnswer
from serve.api.limits.bodies import Share
from serve.dataplane.call import Call
from serve.dataplane.memory import Memory
from serve.dataplane.router import Target

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":7}}\n\n'


def text(content: bytes) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + content + b'"}}]}\n\n'


def answer() -> TextAnswer:
    call = Call(Target("m"), None, lambda upstream: ("/", b""), {}, True, "r")
    call.status = 200
    return TextAnswer(call, show_usage=True)


def test_a_frame_of_text_is_a_token_and_vllms_first_frame_is_none() -> None:
    observer = answer()
    observer.chunk(ROLE, 1.0)
    assert (observer.first, observer.tokens) == (None, 0)
    observer.chunk(text(b"one") + text(b"two"), 2.0)
    observer.chunk(text(b"three")[:20], 3.0)
    assert (observer.first, observer.last, observer.tokens) == (2.0, 2.0, 2)
    observer.chunk(text(b"three")[20:], 4.0)
    observer.chunk(b"data: [DONE]\n\n", 5.0)
    assert (observer.first, observer.last, observer.tokens) == (2.0, 4.0, 3)


def test_text_of_the_answer_is_not_read_as_a_frame() -> None:
    observer = answer()
    observer.chunk(text(rb"\"choices\":[{\"role\":\"assistant\",\"content\":\"\""), 1.0)
    assert observer.tokens == 1


def test_usage_replaces_the_count_of_frames() -> None:
    observer = answer()
    observer.chunk(text(b"several at once"), 1.0)
    observer.chunk(USAGE, 2.0)
    assert (observer.last, observer.tokens) == (1.0, 7)


def test_a_refusal_has_no_first_token() -> None:
    observer = answer()
    observer.chunk(b'{"error":{"message":"no"}}', 1.0)
    assert (observer.first, observer.tokens) == (None, 0)


def whole(streamed: bool = False, limit: int = 2**30, renamed: bool = False) -> TextAnswer:
    """An answer whose request may hold `limit` bytes. `renamed`: the client used an alias of the model `m`."""
    served = SimpleNamespace(adapter=None, asked_as="m")
    upstream = SimpleNamespace(served=served) if renamed else None
    call = SimpleNamespace(streamed=streamed, status=200, upstream=upstream, shown_as="alias")
    return TextAnswer(cast(Call, call), show_usage=False, share=Share(Memory(limit), 0.0))


def completion(places: int) -> bytes:
    place = {"9": {"logprob": -1.0, "rank": 1, "decoded_token": "ab"}}
    choice = {"text": "so", "prompt_logprobs": [None, *[place] * places]}
    return json.dumps({"model": "m", "choices": [choice], "usage": {"completion_tokens": 3}}).encode()


@pytest.mark.parametrize(("places", "apart"), [(1, False), (4000, True)])
async def test_the_usage_of_a_large_answer_is_read_off_the_loop(
    places: int, apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    observer, threads, used = whole(), list[str](), TextAnswer.used

    def noted(self: TextAnswer) -> dict[str, Any]:
        threads.append(threading.current_thread().name)
        return used(self)

    monkeypatch.setattr(TextAnswer, "used", noted)
    body = completion(places)
    assert observer.chunk(body, 0.0) + await observer.end() == body
    assert observer.tokens == 3
    assert threads[0].startswith("bodies") == apart
    assert observer.text() == "so"
    assert observer.share.size == len(body)


@pytest.mark.parametrize("size", [1, 5, 1000])
async def test_a_renamed_answer_is_passed_on_as_it_comes(size: int) -> None:
    observer, body = whole(renamed=True), completion(50)
    parts = [observer.chunk(body[at : at + size], 0.0) for at in range(0, len(body), size)]
    assert max(map(len, parts)) > 0
    assert b"".join(parts) + await observer.end() == body.replace(b'"model": "m"', b'"model": "alias"')


@pytest.mark.parametrize("kind", ["whole", "stream", "tensors"])
async def test_an_answer_above_the_memory_is_passed_on_and_not_kept(kind: str) -> None:
    share = Share(Memory(100), 0.0)
    observer: TextAnswer | TensorAnswer = (
        TensorAnswer(keep=True, share=share) if kind == "tensors" else whole(kind == "stream", 100)
    )
    observer.share = share
    if isinstance(observer, TextAnswer):
        observer.keep = kind == "stream"
    data = text(b"a" * 100) if kind == "stream" else completion(50)
    assert observer.chunk(data[:50], 0.0) + observer.chunk(data[50:], 0.0) + await observer.end() == data
    assert observer.dropped
    assert (observer.body, share.memory.held) == (b"", 0)
