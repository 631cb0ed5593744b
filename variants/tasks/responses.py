"""What the body of a model's answer says about one example of a task, by the task's kind.

These functions read the answers to the requests of `variants.tasks.requests`. They raise BadAnswer for anything but a
whole answer of the protocol's shape.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from variants.errors import EngineError
from variants.metrics.scoring import nearer, numbers_of
from variants.vision.boxes import from_tensors, to_text

MOST_QUOTED = 300
"""Bytes of an answer that an error message repeats."""


class BadAnswer(EngineError):
    """The answer is not what was asked for."""


@dataclass
class ResponseText:
    """An answer as text, as the task's scorer reads it, and the tokens that were counted.

    `token_times` are the times, in seconds, at which the frames of a stream came that carried a token, in order. It is
    empty where nothing was streamed.
    """

    text: str = ""
    token_times: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@contextmanager
def well_formed() -> Iterator[None]:
    """Raise BadAnswer for JSON of another shape than the protocol's."""
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswer(f"an answer of another shape: {type(error).__name__}: {error}") from error


@well_formed()
def read_answer(kind: str, body: bytes) -> ResponseText:
    """The answer to a task of any kind but "passage", "choice" and "drawing". Raises BadAnswer.

    The text is a completion ("text"), the top label ("image", "article"), the best labels, one a line ("ranked"), boxes
    as `variants.vision.boxes` writes them ("boxes"), or which of two texts is nearer to the first ("triplet").
    """
    document = json_object(body)
    if kind == "triplet":
        if "data" not in document or "usage" not in document:
            raise BadAnswer(f"no data or no usage in {quoted(body)}")
        answer = nearer([numbers_of(entry["embedding"]) for entry in document["data"]])
        return ResponseText(answer, prompt_tokens=document["usage"]["prompt_tokens"])
    if kind == "text":
        choices = document.get("choices")
        if not choices or "text" not in choices[0]:
            raise BadAnswer(f"no choices[0].text in {quoted(body)}")
        response = ResponseText(choices[0]["text"])
        read_usage(response, document)
        if response.output_tokens is None:
            raise BadAnswer("the answer carried no usage")
        return response
    outputs = {output["name"]: output["data"] for output in document.get("outputs", ())}
    if kind == "boxes":
        if not {"boxes", "scores", "labels"} <= outputs.keys():
            raise BadAnswer(f"no boxes, scores or labels in {quoted(body)}")
        sides = outputs["boxes"]
        corners = [sides[at : at + 4] for at in range(0, len(sides), 4)]
        return ResponseText(to_text(from_tensors(corners, outputs["scores"], outputs["labels"])))
    if kind == "ranked":
        return ResponseText("\n".join(entry.split(":", 2)[2] for entry in outputs["scores"]))
    if not outputs.get("labels"):
        raise BadAnswer(f"no output `labels` in {quoted(body)}")
    return ResponseText(str(outputs["labels"][0]))


@well_formed()
def read_picture(body: bytes) -> bytes:
    """The one picture of an answer in OpenAI's form, as PNG. Raises BadAnswer."""
    pictures = json_object(body).get("data")
    if not pictures or "b64_json" not in pictures[0]:
        raise BadAnswer(f"no data[0].b64_json in {quoted(body)}")
    return base64.b64decode(pictures[0]["b64_json"], validate=True)


@well_formed()
def read_logprobs(body: bytes) -> list[float]:
    """The log probability, in nats, of each token of a prompt but the first. Raises BadAnswer where there are none."""
    positions = json_object(body)["choices"][0].get("prompt_logprobs")
    if not positions:
        raise BadAnswer("the engine gave no prompt_logprobs", mend="serve the model by vllm or torch")
    return [float(token["logprob"]) for position in positions[1:] for token in position.values()]


def read_usage(response: ResponseText, document: dict[str, Any]) -> None:
    """Take over the token counts of a completion, or of one of its frames, where it has any."""
    if usage := document.get("usage"):
        response.prompt_tokens = usage["prompt_tokens"]
        response.output_tokens = usage["completion_tokens"]


def json_object(data: bytes) -> dict[str, Any]:
    """Raises BadAnswer unless `data` is a JSON object."""
    try:
        document = json.loads(data)
    except ValueError:
        raise BadAnswer(f"not JSON: {quoted(data)}") from None
    if not isinstance(document, dict):
        raise BadAnswer(f"not a JSON object: {quoted(data)}")
    return document


def quoted(data: bytes) -> str:
    return data[:MOST_QUOTED].decode(errors="replace")
