"""The bytes of an answer -> what it says and when each piece came. Reads line by line from the raw
response.

Locust's `iter_lines` waits for blocks of 1,024 bytes and so reports first tokens hundreds of milliseconds
late; a line read from the raw response has the time at which its bytes came from the socket. A frame's time
is taken before it is parsed. Whatever is not a whole, well-formed answer raises BadAnswer: half an answer
is a failed request.
"""

import base64
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from variants.errors import InputError
from variants.metrics.scoring import nearer, numbers_of
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.vision.boxes import from_tensors, to_text

MOST_SAID = 300


class BadAnswer(Exception):
    """The answer is not what was asked for; the message goes to the record."""


class RawBody(Protocol):
    def readline(self, sep: bytes) -> bytes: ...
    def read(self) -> bytes: ...


@dataclass
class ResponseText:
    """`token_times`: the clock at each frame that carried a token, in order; empty where nothing was
    streamed.
    """

    text: str = ""
    token_times: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@contextmanager
def _foreseen() -> Iterator[None]:
    """JSON of another shape than the protocol's is a bad answer like any other."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswer(f"an answer of another shape: {type(error).__name__}: {error}") from error


@_foreseen()
def read_stream(body: RawBody, clock: Callable[[], float]) -> ResponseText:
    """Server-sent events of `/v1/completions` up to `[DONE]`; usage comes from the last frame. Raises
    BadAnswer.
    """
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
        frame = _object(data)
        if "error" in frame:
            raise BadAnswer(f"an error in the stream: {_said(data)}")
        if frame.get("choices"):
            answer.token_times.append(now)
            pieces.append(frame["choices"][0].get("text") or "")
        _usage(answer, frame)
    body.read()  # the end of the chunked body, so that the connection can be used again
    if answer.output_tokens is None:
        raise BadAnswer("the stream carried no usage")
    answer.text = "".join(pieces)
    return answer


@_foreseen()
def read_completion(body: RawBody) -> ResponseText:
    """A completion that was not streamed. Raises BadAnswer."""
    data = body.read()
    document = _object(data)
    choices = document.get("choices")
    if not choices or "text" not in choices[0]:
        raise BadAnswer(f"no choices[0].text in {_said(data)}")
    answer = ResponseText(text=choices[0]["text"])
    _usage(answer, document)
    if answer.output_tokens is None:
        raise BadAnswer("the answer carried no usage")
    return answer


@_foreseen()
def read_labels(body: RawBody) -> ResponseText:
    """The top label of the one picture or text in a v2 answer in JSON. Raises BadAnswer."""
    data = body.read()
    for output in _object(data).get("outputs", ()):
        if output.get("name") == "labels" and output.get("data"):
            return ResponseText(text=str(output["data"][0]))
    raise BadAnswer(f"no output `labels` in {_said(data)}")


@_foreseen()
def read_boxes(body: RawBody) -> ResponseText:
    """The boxes of a v2 answer in JSON, as `variants.vision.boxes`' text. Raises BadAnswer."""
    data = body.read()
    outputs = {output["name"]: output["data"] for output in _object(data).get("outputs", ())}
    if not {"boxes", "scores", "labels"} <= outputs.keys():
        raise BadAnswer(f"no boxes, scores or labels in {_said(data)}")
    sides = outputs["boxes"]
    corners = [sides[at : at + 4] for at in range(0, len(sides), 4)]
    return ResponseText(text=to_text(from_tensors(corners, outputs["scores"], outputs["labels"])))


@_foreseen()
def read_embeddings(body: RawBody) -> ResponseText:
    """Which of two texts is nearer to the first, of three embeddings in OpenAI's form. Raises BadAnswer."""
    data = body.read()
    document = _object(data)
    if "data" not in document or "usage" not in document:
        raise BadAnswer(f"no data or no usage in {_said(data)}")
    found = nearer([numbers_of(entry["embedding"]) for entry in document["data"]])
    return ResponseText(text=found, prompt_tokens=document["usage"]["prompt_tokens"])


@_foreseen()
def read_drawing(body: RawBody, classifier: DigitClassifier) -> ResponseText:
    """What the classifier reads in the one picture of OpenAI's form. Raises BadAnswer."""
    data = body.read()
    drawn = _object(data).get("data")
    if not drawn or "b64_json" not in drawn[0]:
        raise BadAnswer(f"no data[0].b64_json in {_said(data)}")
    try:
        return ResponseText(text=classifier.read(base64.b64decode(drawn[0]["b64_json"], validate=True)))
    except InputError as error:
        raise BadAnswer(str(error)) from error


def refusal(status: int, data: bytes) -> BadAnswer:
    """What a status other than 200 said."""
    return BadAnswer(f"HTTP {status}: {_said(data)}")


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        raise BadAnswer(f"not JSON: {_said(data)}") from None
    if not isinstance(document, dict):
        raise BadAnswer(f"not a JSON object: {_said(data)}")
    return document


def _usage(answer: ResponseText, document: dict[str, Any]) -> None:
    usage = document.get("usage")
    if usage:
        answer.prompt_tokens = usage["prompt_tokens"]
        answer.output_tokens = usage["completion_tokens"]


def _said(data: bytes) -> str:
    return data[:MOST_SAID].decode(errors="replace")
