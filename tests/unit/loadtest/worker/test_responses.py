"""A stream is read as it comes; half of one is no answer."""

import itertools
import json

import pytest

from loadtest.worker.responses import read_stream, refusal
from variants.tasks.responses import BadAnswer

FRAMES = (
    b'data: {"choices":[{"text":" a","finish_reason":null}]}\n\n'
    b": a comment\n\n"
    b'data: {"choices":[{"text":"","finish_reason":null}]}\n\n'
    b'data: {"choices":[{"text":" b","finish_reason":"length"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":3}}\n\n'
    b"data: [DONE]\n\n"
)


class Body:
    """A response's body, line by line, as the raw response gives it: empty at the end."""

    def __init__(self, data: bytes) -> None:
        self.lines = iter(data.splitlines(keepends=True))

    def readline(self, sep: bytes) -> bytes:
        assert sep == b"\n"
        return next(self.lines, b"")

    def read(self) -> bytes:
        return b"".join(self.lines)


def clock() -> "itertools.count[float]":
    return itertools.count(1.0)


def test_a_stream_gives_text_times_and_usage() -> None:
    ticks = clock()
    answer = read_stream(Body(FRAMES), lambda: next(ticks))
    assert answer.text == " a b"
    # Lines 1, 5 and 7 carry a token; one of them is half a character and has no text yet.
    assert answer.token_times == [1.0, 5.0, 7.0]
    assert (answer.prompt_tokens, answer.output_tokens) == (5, 3)


def test_windows_line_ends_are_read_too() -> None:
    ticks = clock()
    answer = read_stream(Body(FRAMES.replace(b"\n", b"\r\n")), lambda: next(ticks))
    assert answer.text == " a b"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (FRAMES.replace(b"data: [DONE]\n\n", b""), "without"),
        (FRAMES[:40], "not JSON"),
        (b'data: {"error":{"message":"engine died"}}\n\ndata: [DONE]\n\n', "engine died"),
        (b'data: {"choices":[{"text":"a"}]}\n\ndata: [DONE]\n\n', "no usage"),
        (b"", "without"),
    ],
)
def test_half_a_stream_is_no_answer(data: bytes, says: str) -> None:
    ticks = clock()
    with pytest.raises(BadAnswer, match=says):
        read_stream(Body(data), lambda: next(ticks))


@pytest.mark.parametrize(
    "frame",
    [
        {"choices": 3},
        {"choices": [3]},
        {"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1}},
        {"choices": [], "usage": 7},
    ],
)
def test_a_frame_of_another_shape_is_no_answer(frame: dict[str, object]) -> None:
    data = f"data: {json.dumps(frame)}\n\ndata: [DONE]\n\n".encode()
    with pytest.raises(BadAnswer):
        read_stream(Body(data), lambda: 1.0)


def test_a_refusal_says_what_was_said_and_no_more_than_fits() -> None:
    assert str(refusal(503, b'{"error":"busy"}')) == 'HTTP 503: {"error":"busy"}'
    assert len(str(refusal(500, b"x" * 10_000))) < 400
