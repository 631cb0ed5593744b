"""What a stream's frames say of its speed, whole or broken off."""

from serve.api.answers import TextAnswer
from serve.dataplane.call import Call
from serve.dataplane.router import Target

ROLE = b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":7}}\n\n'


def text(said: bytes) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"' + said + b'"}}]}\n\n'


def answer() -> TextAnswer:
    call = Call(Target("m"), None, lambda upstream: ("/", b""), {}, True, "r")
    call.status = 200
    return TextAnswer(call, show_usage=True)


def test_a_frame_of_text_is_a_token_and_vllms_first_frame_is_none() -> None:
    relayed = answer()
    relayed.chunk(ROLE, 1.0)
    assert (relayed.first, relayed.tokens) == (None, 0)
    relayed.chunk(text(b"one") + text(b"two"), 2.0)
    relayed.chunk(text(b"three")[:20], 3.0)
    assert (relayed.first, relayed.last, relayed.tokens) == (2.0, 2.0, 2)
    relayed.chunk(text(b"three")[20:], 4.0)
    relayed.chunk(b"data: [DONE]\n\n", 5.0)
    assert (relayed.first, relayed.last, relayed.tokens) == (2.0, 4.0, 3)


def test_what_is_said_is_not_taken_for_a_frame() -> None:
    relayed = answer()
    relayed.chunk(text(rb"\"choices\":[{\"role\":\"assistant\",\"content\":\"\""), 1.0)
    assert relayed.tokens == 1


def test_usage_knows_better() -> None:
    relayed = answer()
    relayed.chunk(text(b"several at once"), 1.0)
    relayed.chunk(USAGE, 2.0)
    assert (relayed.last, relayed.tokens) == (1.0, 7)


def test_a_refusal_has_no_first_token() -> None:
    relayed = answer()
    relayed.chunk(b'{"error":{"message":"no"}}', 1.0)
    assert (relayed.first, relayed.tokens) == (None, 0)
