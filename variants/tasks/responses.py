"""What the body of a model's answer says about one example of a task, by the task's kind.

These functions read the answers to the requests of `variants.tasks.requests`. They raise BadAnswer for anything but a
whole answer of the protocol's shape.
"""

import base64
import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from variants.errors import EngineError, InputError
from variants.metrics.answer_scores import SCORES
from variants.metrics.pictures import thumbnail
from variants.metrics.scoring import cosine, nearer, numbers_of
from variants.tasks.digit_classifier.network import DigitClassifier
from variants.tasks.requests import EMBEDDED
from variants.vision.boxes import from_tensors, to_text

MOST_QUOTED = 300
"""Bytes of an answer that an error message repeats."""


class BadAnswer(EngineError):
    """The answer is not what was asked for."""


@dataclass
class ResponseText:
    """An answer as the text that the task's scorer reads, and its token counts.

    `token_times` are the times, in seconds, at which the frames of a stream came that carried a token, in order. It is
    empty where nothing was streamed.
    """

    text: str = ""
    token_times: list[float] = field(default_factory=list)
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@contextmanager
def well_formed(body: bytes) -> Iterator[None]:
    """Raise BadAnswer where reading `body` fails."""
    try:
        yield
    except json.JSONDecodeError:
        raise BadAnswer(f"not JSON: {quoted(body)}") from None
    except (KeyError, IndexError, TypeError, AttributeError, ValueError, InputError) as error:
        raise BadAnswer(f"an answer of another shape: {type(error).__name__}: {error} in {quoted(body)}") from error


def read_answer(kind: str, body: bytes, classifier: DigitClassifier | None = None) -> ResponseText:
    """The answer to one request for an example. Raises BadAnswer.

    text, harness    the completion, as of the kinds of generated answers
    image, article   the top label
    ranked           the best labels, one a line, best first
    boxes            the boxes, as `variants.vision.boxes` writes them
    triplet          which of two texts is nearer to the first
    pair             the cosine of its two texts, as a number
    drawing          the digit that `classifier` reads in the picture
    picture          a small version of it (`variants.metrics.pictures`)
    """
    with well_formed(body):
        if kind == "picture":
            return ResponseText(thumbnail(read_picture(body)))
        if kind == "drawing":
            assert classifier is not None
            return ResponseText(classifier.read(read_picture(body)))
        document = json.loads(body)
        if kind in ("text", "harness") or kind in SCORES:
            choice = document["choices"][0]
            text = choice["message"]["content"] if "message" in choice else choice["text"]
            return ResponseText(text or "", **usage_of(document))
        if kind in EMBEDDED:
            embeddings = [numbers_of(entry["embedding"]) for entry in document["data"]]
            text = nearer(embeddings) if kind == "triplet" else cosine_of(embeddings)
            return ResponseText(text, prompt_tokens=document["usage"]["prompt_tokens"])
        outputs = {output["name"]: output["data"] for output in document["outputs"]}
        if kind == "boxes":
            sides = outputs["boxes"]
            corners = [sides[at : at + 4] for at in range(0, len(sides), 4)]
            return ResponseText(to_text(from_tensors(corners, outputs["scores"], outputs["labels"])))
        if kind == "ranked":
            return ResponseText("\n".join(entry.split(":", 2)[2] for entry in outputs["scores"]))
        return ResponseText(str(outputs["labels"][0]))


def cosine_of(embeddings: Sequence[Sequence[float]]) -> str:
    """The cosine of two embeddings, as text. ValueError unless there are two, of one length, and neither is zero."""
    one, other = embeddings
    if not math.isfinite(value := cosine(one, other)):
        raise ValueError("an embedding is zero or not finite, so there is no cosine")
    return str(value)


def read_picture(body: bytes) -> bytes:
    """The one picture of an answer in OpenAI's form, as PNG. Raises BadAnswer."""
    with well_formed(body):
        return base64.b64decode(json.loads(body)["data"][0]["b64_json"], validate=True)


def read_logprobs(body: bytes) -> list[float]:
    """The log probability, in nats, of each token of a prompt but the first. Raises BadAnswer where there are none."""
    with well_formed(body):
        positions = json.loads(body)["choices"][0].get("prompt_logprobs")
        if not positions:
            raise BadAnswer("the engine gave no prompt_logprobs", mend="serve the model by vllm")
        return [float(token["logprob"]) for position in positions[1:] for token in position.values()]


def usage_of(document: dict[str, Any]) -> dict[str, Any]:
    """The token counts of a completion, as fields of ResponseText. Raises KeyError where it has none."""
    usage = document["usage"]
    return {"prompt_tokens": usage["prompt_tokens"], "output_tokens": usage["completion_tokens"]}


def quoted(body: bytes) -> str:
    return body[:MOST_QUOTED].decode(errors="replace")
