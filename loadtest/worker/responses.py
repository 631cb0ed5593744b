"""Reads an answer of the server while it comes: what it says, and when each piece of a stream came.

A stream is read line by line from the raw response, so a line has the time at which its bytes came from the socket.
Locust's `iter_lines` waits for blocks of 1,024 bytes and reports first tokens hundreds of milliseconds late. The time
is taken before a frame is parsed.
"""

from collections.abc import Callable
from typing import Protocol

from variants.errors import InputError
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.responses import (
    BadAnswer,
    ResponseText,
    json_object,
    quoted,
    read_picture,
    read_usage,
    well_formed,
)


class RawBody(Protocol):
    def readline(self, sep: bytes) -> bytes: ...
    def read(self) -> bytes: ...


@well_formed()
def read_stream(body: RawBody, clock: Callable[[], float]) -> ResponseText:
    """Server-sent events of `/v1/completions` up to `[DONE]`. The last frame has the usage. Raises BadAnswer."""
    answer = ResponseText()
    pieces: list[str] = []
    while True:
        line = body.readline(b"\n")
        now = clock()
        if not line:
            raise BadAnswer("the stream ended without [DONE]")
        data = line.strip().removeprefix(b"data:").strip()
        if not data or not line.startswith(b"data:"):
            continue
        if data == b"[DONE]":
            break
        frame = json_object(data)
        if "error" in frame:
            raise BadAnswer(f"an error in the stream: {quoted(data)}")
        if frame.get("choices"):
            answer.token_times.append(now)
            pieces.append(frame["choices"][0].get("text") or "")
        read_usage(answer, frame)
    body.read()  # the end of the chunked body, so that the connection can be used again
    if answer.output_tokens is None:
        raise BadAnswer("the stream carried no usage")
    answer.text = "".join(pieces)
    return answer


def refusal(status: int, body: bytes) -> BadAnswer:
    """The error for an answer whose status is not 200."""
    return BadAnswer(f"HTTP {status}: {quoted(body)}")


def read_digit(body: bytes, classifier: DigitClassifier) -> ResponseText:
    """The digit that the classifier reads in the one picture of an answer. Raises BadAnswer."""
    try:
        return ResponseText(classifier.read(read_picture(body)))
    except InputError as error:
        raise BadAnswer(str(error)) from error
