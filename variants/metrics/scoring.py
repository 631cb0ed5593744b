"""Pure scorers: an answer against a label. The ingress, the load generator and offline evaluation share these, so an
accuracy means the same wherever it was measured. No I/O, no numerical library."""

import base64
import math
import sys
from array import array
from collections import Counter
from collections.abc import Sequence

from variants.vision.boxes import outcome as boxes_outcome


def text_matches(answer: str, label: str) -> bool:
    """Whether a one-token answer names `label`.

    An engine is asked for one token among the first tokens of all labels, so the answer is a label or its beginning:
    right when it is not empty and the label starts with it, blanks at either end aside. " pos" names " positive".
    """
    stripped = answer.strip()
    return bool(stripped) and label.strip().startswith(stripped)


def label_matches(answer: str, label: str) -> bool:
    """Whether a classifier's top label is `label`, exactly."""
    return answer == label


def ranked_matches(answer: str, label: str) -> bool:
    """Whether `label` is among a classifier's first labels, one a line."""
    return label in answer.splitlines()


def is_correct(kind: str, answer: str, label: str) -> bool:
    """The scorer of a task's kind: "text" (label by likelihood), "image" and "article" (top label), "ranked" (the label
    is among the first), "triplet" (which of two texts is nearer to the first), "choice" (the likeliest ending),
    "drawing" (the digit that a classifier reads in it) or "boxes" (all of them, and no other). ValueError for another
    kind."""
    if kind == "text":
        return text_matches(answer, label)
    if kind == "boxes":
        return boxes_outcome(answer, label) == 1
    if kind in ("image", "article", "triplet", "choice", "drawing"):
        return label_matches(answer, label)
    if kind == "ranked":
        return ranked_matches(answer, label)
    raise ValueError(
        f"no scorer for tasks of kind {kind!r}: text, image, article, ranked, triplet, choice, drawing or boxes"
    )


def surprise_of(nats: float, tokens: int) -> str:
    """An answer to a passage: how surprising it was in all, in nats, and over how many tokens."""
    return f"{nats:.4f} {tokens}"


def surprise(answer: str) -> tuple[float, int]:
    """`surprise_of`'s numbers back. ValueError for anything else."""
    nats, tokens = answer.split()
    return float(nats), int(tokens)


def macro_f1(answers: Sequence[str], labels: Sequence[str]) -> float:
    """The mean over the classes that occur in `labels` of each one's F1, the harmonic mean of precision and recall: a
    rare class counts as much as a common one. ValueError when the lengths differ or are zero."""
    if not labels or len(answers) != len(labels):
        raise ValueError(f"{len(answers)} answers for {len(labels)} labels")
    right = Counter(label for answer, label in zip(answers, labels, strict=True) if answer == label)
    said, wanted = Counter(answers), Counter(labels)
    return math.fsum(2 * right[name] / (said[name] + wanted[name]) for name in wanted) / len(wanted)


def nearer(embeddings: Sequence[Sequence[float]]) -> str:
    """Of an anchor and two others, which other has the greater cosine to the anchor: "first", "second", or "" where
    neither has, as with embeddings that are all alike. ValueError unless there are three of one length."""
    if len(embeddings) != 3 or len({len(embedding) for embedding in embeddings}) != 1:
        raise ValueError(
            f"embeddings of {[len(embedding) for embedding in embeddings]} numbers, not three of one length"
        )
    anchor, first, second = embeddings
    difference = cosine(anchor, first) - cosine(anchor, second)
    return "first" if difference > 0 else "second" if difference < 0 else ""


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors, not a number where one of them is zero."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else math.nan


def numbers_of(embedding: str | Sequence[float]) -> Sequence[float]:
    """An embedding as OpenAI's API carries it: numbers, or base64 of little-endian float32. ValueError for neither."""
    if not isinstance(embedding, str):
        return [float(number) for number in embedding]
    numbers = array("f")
    numbers.frombytes(base64.b64decode(embedding, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def first_tokens(encoded: Sequence[Sequence[int]], labels: Sequence[str]) -> list[int]:
    """First token id of each encoded label. ValueError when two labels share it: likelihood could not tell them
    apart."""
    firsts = [tokens[0] for tokens in encoded]
    if len(set(firsts)) != len(firsts):
        shared = [label for label, first in zip(labels, firsts, strict=True) if firsts.count(first) > 1]
        raise ValueError(f"labels share their first token: {', '.join(shared)}")
    return firsts
