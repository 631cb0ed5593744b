"""A pair whose answers differ: what was asked, and what a variant and its parent answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve.dataplane.call import Call, Reply
from serve.dataplane.upstream import Upstream
from serve.protocols.open_inference import HEADER_LENGTH, parse_request, parse_response
from serve.shadow.replay import ScoredAnswer
from variants.artifacts.manifest import TaskKind
from variants.evidence.free_running import FreeAnswer

MOST_CHARACTERS = 50_000
"""A pair with longer texts is neither kept nor judged: many may wait in memory."""
CLASSES: tuple[TaskKind, ...] = ("text-classification", "image-classification")


@dataclass(frozen=True)
class Difference:
    """`key` names the evidence of both. `pair` is what the journal says of it, without texts. `prompt` is None for an
    image. `answers` are the variant's and its parent's. `known` is the outcome by its label: -1, 0, 1, or None without
    one. `at` is in seconds of the epoch. `sender` is a hash of the API key; it is not kept."""

    model: str
    variant: str
    parent: str
    key: str
    pair: Mapping[str, Any]
    prompt: str | None
    answers: tuple[str, str]
    known: int | None
    at: float
    sender: str | None = None

    @property
    def id(self) -> str:
        return str(self.pair["id"])

    @property
    def is_too_long(self) -> bool:
        return sum(map(len, (self.prompt or "", *self.answers))) > MOST_CHARACTERS


def answer_of(task: TaskKind, answer: ScoredAnswer) -> FreeAnswer | None:
    """An answer that can be shown: a text or classes. None for pictures, boxes and embeddings."""
    if task == "text-generation":
        return answer.answered()[0]
    return classes_of(answer.reply()) if task in CLASSES else None


def classes_of(reply: Reply) -> FreeAnswer | None:
    """The labels of a classifier's answer, None where the client did not ask for them."""
    labels = parse_response(reply.body, reply.header_length, ("labels",)).get("labels")
    return None if labels is None else FreeAnswer(", ".join(label.decode() for label in labels.ravel()))


def prompt_of(task: TaskKind, document: Mapping[str, Any] | None, call: Call, upstream: Upstream) -> str | None:
    """What was asked, as one text. Images and other parts that are no text are left out, and it says so."""
    if task == "text-generation" and document is not None:
        if "messages" not in document:
            return str(document.get("prompt"))
        return "\n".join(f"{turn.get('role')}: {text_of(turn.get('content'))}" for turn in document["messages"])
    if task != "text-classification":
        return None
    inputs = parse_request(call.ask(upstream)[1], call.headers.get(HEADER_LENGTH)).inputs
    texts = [text for tensor in inputs if tensor.datatype == "BYTES" for text in tensor.data.ravel()]
    return "\n".join(text.decode(errors="replace") for text in texts)


def text_of(content: object) -> str:
    """The text of a turn of a chat."""
    if isinstance(content, list):
        return "\n".join(map(text_of_part, content))
    return "" if content is None else str(content)


def text_of_part(part: object) -> str:
    if not isinstance(part, dict):
        return str(part)
    return part["text"] if isinstance(part.get("text"), str) else f"[{part.get('type')} left out]"
