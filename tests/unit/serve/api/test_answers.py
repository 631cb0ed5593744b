"""First token, last token and token count of a stream, also of one that does not end."""

from serve.api.answers import TextAnswer
from serve.dataplane.call import Call
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
