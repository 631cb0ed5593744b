"""Agreement of a shadow pair without a label, for each task: of the variant with its parent's answer, and of the parent
when it is asked again.

    text-generation        mean of two: share of positions with the same most likely token, where both score the
                           parent's answer, and the score of what each writes by itself (`serve.shadow.free_text`).
                           Where there are tools, the latter alone
    image-classification   share of images with the same top label
    object-detection       F1 of boxes matched at an overlap of 0.5
    feature-extraction     cosine, mapped from [-1, 1] to [0, 1]
    image-generation       pictures drawn from the same seed: the same for the digit classifier's features of digits,
                           and for other pictures their likeness (`variants.metrics.pictures`)

Each comparison asks the parent once more than the variant. With batches and threads, a model does not always agree with
itself; only disagreement below that floor is due to the variant.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import msgspec

from serve.dataplane.body_worker import apart
from serve.dataplane.call import Reply
from serve.dataplane.upstream import Upstream
from serve.protocols.open_inference import parse_response
from serve.protocols.tensor_codec import Array
from serve.shadow.free_text import Ask, FreeAgreement
from variants.errors import EngineError
from variants.evidence.agreement import Distribution, argmax_agreement, class_divergence, divergence
from variants.evidence.free_running import FreeAnswer
from variants.metrics.pictures import likeness, thumbnail
from variants.metrics.scoring import cosine, numbers_of
from variants.tasks.digit_classifier.network import SIDE
from variants.tasks.digit_classifier.store import load_if_trained
from variants.vision.boxes import Box, agreement, from_tensors
from variants.vision.picture import picture_of

PICTURES = "/v1/images/generations"
DIGIT = (SIDE, SIDE)
TOP = 5
"""Number of most likely tokens requested at each position."""
CHAT = "/v1/chat/completions"
OTHER_PROMPT = ("echo", "continue_final_message")
"""Fields with which the answer is not a text of its own."""
BOXES = ("boxes", "scores", "labels")
"""The outputs of a detector."""
KEPT = ("messages", "prompt", "chat_template_kwargs", "documents")


@dataclass(frozen=True)
class ShadowAgreement:
    """Agreement with the parent's answer, in [0, 1]. `divergence` in nats per position, None where undefined. `checks`
    are those of texts (`variants.evidence.free_running`)."""

    variant: float
    floor: float
    divergence: float | None
    checks: dict[str, float] | None = None

    def with_free(self, free: FreeAgreement) -> "ShadowAgreement":
        """The mean with the scores of what both wrote by themselves."""
        variant, floor = (self.variant + free.variant) / 2, (self.floor + free.floor) / 2
        return ShadowAgreement(variant, floor, self.divergence, free.checks)


async def compare_text(ask: Ask, parent: Upstream, variant: Upstream, path: str, request: dict[str, Any], text: str,
                       tokens: int) -> ShadowAgreement:  # fmt: skip
    """Score `text`, the parent's answer of about `tokens` tokens. The tokens of a long answer count in its mean alone:
    each answer is one outcome. Raises EngineError."""
    body = scoring_request(path, request, text)

    async def score(upstream: Upstream) -> list[Distribution]:
        document = json.dumps({**body, "model": upstream.served.asked_as}).encode()
        reply = (await ask(upstream, path, document, {"content-type": "application/json"})).body
        return await apart(len(reply), distributions, reply, tokens)

    first, other, again = await score(parent), await score(variant), await score(parent)
    return ShadowAgreement(
        argmax_agreement(first, other), argmax_agreement(first, again), round(divergence(first, other), 6)
    )


def scoring_request(path: str, request: dict[str, Any], text: str) -> dict[str, Any]:
    """A request whose prompt ends with the answer, for the log probabilities of that prompt."""
    body = {name: request[name] for name in KEPT if name in request}
    body |= {"max_tokens": 1, "temperature": 0, "prompt_logprobs": TOP}
    if path == CHAT:
        turns = [*request["messages"], {"role": "assistant", "content": text}]
        return body | {"messages": turns, "continue_final_message": True, "add_generation_prompt": False}
    return body | {"prompt": request["prompt"] + text}


class Likelihood(msgspec.Struct):
    logprob: float


class ScoredChoice(msgspec.Struct):
    prompt_logprobs: list[msgspec.Raw] | None = None


class Scored(msgspec.Struct):
    """What is read of an answer to a scoring request: of a chat at the top, of a completion in its choice."""

    prompt_logprobs: list[msgspec.Raw] | None = None
    choices: list[ScoredChoice] = []


class Embedded(msgspec.Struct):
    embedding: list[float] | str


class Embeddings(msgspec.Struct):
    data: list[Embedded]


def distributions(body: bytes, last: int) -> list[Distribution]:
    """vLLM's `prompt_logprobs`: for each of the `last` positions, log probabilities by token. The first position has
    none. The others are skipped: a long prompt has many MiB. Raises EngineError."""
    scored = msgspec.json.decode(body, type=Scored)
    positions = scored.prompt_logprobs or next((choice.prompt_logprobs for choice in scored.choices), None)
    if not positions:
        raise EngineError("the engine returned no log probabilities of the prompt")
    read = (msgspec.json.decode(each, type=dict[int, Likelihood] | None) for each in positions[-last:])
    return [{token: each.logprob for token, each in position.items()} for position in read if position is not None]


def incomparable(path: str, request: dict[str, Any] | None) -> str | None:
    """Why a request's answers cannot be compared by agreement; None where they can. Text needs one answer to one
    prompt. Pictures need a seed, because without one each picture differs."""
    if request is None or path == "/v1/embeddings":
        return None
    if path == PICTURES:
        return "no seed" if request.get("seed") is None else None
    if request.get("n", 1) != 1:
        return "several answers"
    if (field := next((name for name in OTHER_PROMPT if request.get(name)), None)) is not None:
        return field
    prompt = request.get("messages") if path == CHAT else request.get("prompt")
    return None if isinstance(prompt, list if path == CHAT else str) else "prompt is no single text"


def is_scorable(request: dict[str, Any], answer: FreeAnswer) -> bool:
    """Whether both can score the parent's answer as a text: a scoring request has neither tools nor calls."""
    return not request.get("tools") and not answer.calls and bool(answer.text)


def compare_labels(answers: Sequence[Reply]) -> ShadowAgreement:
    """Agreement of top labels over all images of the request. `answers`: parent, variant, parent again."""
    tensors = [parse_response(answer.body, answer.header_length, ("labels", "scores")) for answer in answers]
    if any("labels" not in outputs for outputs in tensors):
        raise EngineError("the answer has no labels to compare")
    first, other, again = (outputs["labels"].tolist() for outputs in tensors)
    scores = [outputs["scores"].tolist() if "scores" in outputs else [] for outputs in tensors[:2]]
    spread = [class_divergence(p, q) for p, q in zip(*scores, strict=True)]
    return ShadowAgreement(same(first, other), same(first, again), sum(spread) / len(spread) if spread else None)


def same(one: Sequence[object], other: Sequence[object]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def compare_boxes(answers: Sequence[Reply]) -> ShadowAgreement:
    """F1 of the boxes, matched at an overlap of 0.5. Raises EngineError."""
    first, other, again = (boxes_of(parse_response(a.body, a.header_length, BOXES)) for a in answers)
    if first is None or other is None or again is None:
        raise EngineError("the answer lacks boxes, scores or labels to compare")
    return ShadowAgreement(agreement(first, other), agreement(first, again), None)


def boxes_of(tensors: dict[str, Array]) -> list[Box] | None:
    """The boxes of a detector's answer; None unless the client requested boxes, scores and labels."""
    if not set(BOXES) <= tensors.keys():
        return None
    return from_tensors(tensors["boxes"].tolist(), tensors["scores"].tolist(), tensors["labels"].tolist())


def compare_embeddings(answers: Sequence[Reply]) -> ShadowAgreement:
    """Mean cosine over the texts of the request."""
    read = (msgspec.json.decode(answer.body, type=Embeddings).data for answer in answers)
    first, other, again = ([numbers_of(each.embedding) for each in embeddings] for embeddings in read)
    return ShadowAgreement(near(first, other), near(first, again), None)


def compare_pictures(answers: Sequence[Reply]) -> ShadowAgreement:
    """Over the pictures of the request: mean cosine of the digit classifier's features where it reads such pictures,
    else their mean likeness. Raises InputError for what is no picture."""
    first, other, again = map(pictures_of, answers)
    classifier = load_if_trained()
    if classifier is None or any(picture_of(each, "picture").size != DIGIT for each in first):
        return ShadowAgreement(alike(first, other), alike(first, again), None)
    features = [classifier.features(pictures).tolist() for pictures in (first, other, again)]
    return ShadowAgreement(near(features[0], features[1]), near(features[0], features[2]), None)


def alike(one: Sequence[bytes], other: Sequence[bytes]) -> float:
    return fmean(likeness(thumbnail(a), thumbnail(b)) for a, b in zip(one, other, strict=True))


def pictures_of(answer: Reply) -> list[bytes]:
    return [base64.b64decode(each["b64_json"]) for each in json.loads(answer.body)["data"]]


def near(one: Sequence[Sequence[float]], other: Sequence[Sequence[float]]) -> float:
    cosines = [cosine(a, b) for a, b in zip(one, other, strict=True)]
    return min(1.0, max(0.0, (sum(cosines) / len(cosines) + 1) / 2))
