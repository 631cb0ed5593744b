"""Answers are read as they come; half of one is none."""

import itertools
import json

import pytest

from loadtest.worker.responses import (
    BadAnswer,
    read_completion,
    read_drawing,
    read_embeddings,
    read_labels,
    read_stream,
    refusal,
)
from variants.errors import InputError

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
def test_json_of_another_shape_is_no_answer(frame: dict[str, object]) -> None:
    data = f"data: {json.dumps(frame)}\n\ndata: [DONE]\n\n".encode()
    with pytest.raises(BadAnswer):
        read_stream(Body(data), lambda: 1.0)
    with pytest.raises(BadAnswer):
        read_completion(Body(json.dumps(frame).encode()))
    with pytest.raises(BadAnswer):
        read_labels(Body(json.dumps({"outputs": [frame, 3]}).encode()))


def test_a_completion() -> None:
    body = b'{"choices":[{"text":" positive"}],"usage":{"prompt_tokens":9,"completion_tokens":1}}'
    answer = read_completion(Body(body))
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == (" positive", 9, 1)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"choices":[]}', b'{"choices":[{"text":"a"}]}', b"\xff"])
def test_what_is_no_completion_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_completion(Body(body))


def test_the_top_label_of_a_picture() -> None:
    body = b'{"outputs":[{"name":"scores","data":[0.1]},{"name":"labels","datatype":"BYTES","data":["7"]}]}'
    assert read_labels(Body(body)).text == "7"
    with pytest.raises(BadAnswer, match="labels"):
        read_labels(Body(b'{"outputs":[{"name":"scores","data":[0.1]}]}'))


def embeddings(*vectors: object) -> bytes:
    data = [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    return json.dumps({"data": data, "usage": {"prompt_tokens": 12, "total_tokens": 12}}).encode()


def test_the_nearer_of_two_texts() -> None:
    answer = read_embeddings(Body(embeddings([1, 0], [0, 1], [1, 1])))
    assert (answer.text, answer.prompt_tokens, answer.output_tokens) == ("second", 12, None)
    assert read_embeddings(Body(embeddings("AACAPwAAAAA=", "AACAPwAAAAA=", "AAAAAAAAgD8="))).text == "first"


@pytest.mark.parametrize("body", [b"{}", b'{"data":[]}', embeddings([1, 0], [0, 1]), embeddings("%", "%", "%")])
def test_what_is_no_triplet_of_embeddings_is_refused(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        read_embeddings(Body(body))


def test_a_refusal_says_what_was_said_and_no_more_than_fits() -> None:
    assert str(refusal(503, b'{"error":"busy"}')) == 'HTTP 503: {"error":"busy"}'
    assert len(str(refusal(500, b"x" * 10_000))) < 400


class OneReader:
    """A judge that knows one picture."""

    def read(self, picture: bytes) -> str:
        if picture != b"PNG":
            raise InputError("no picture", field="picture")
        return "7"


def drawing(data: object) -> bytes:
    return json.dumps({"created": 1, "data": data}).encode()


def test_a_drawing_says_what_the_judge_reads_in_it() -> None:
    assert read_drawing(Body(drawing([{"b64_json": "UE5H"}])), OneReader()).text == "7"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (drawing([]), "no data"),
        (drawing([{"url": "http://x"}]), "no data"),
        (drawing([{"b64_json": "UE5H!"}]), "another shape"),
        (drawing([{"b64_json": "AAAA"}]), "no picture"),
        (drawing([{"b64_json": "UE5H"}])[:20], "not JSON"),
    ],
)
def test_what_is_no_drawing_is_a_bad_answer(data: bytes, says: str) -> None:
    with pytest.raises(BadAnswer, match=says):
        read_drawing(Body(data), OneReader())  # type: ignore[arg-type]
