"""Scores single answers against labels. Pure functions without I/O or a numerical library.

The ingress, the load generator and offline evaluation share them, so accuracy means the same in all three.
"""

import base64
import math
import re
import string
import sys
import unicodedata
from array import array
from collections import Counter
from collections.abc import Sequence

from variants.metrics.answer_scores import score_of
from variants.vision.boxes import outcome as boxes_outcome

FRAGMENT = 2
_EDGES = string.whitespace + ".,;:!?\"'`()[]{}"
_BETWEEN = re.compile(r"[\s/_-]+")


def text_matches(answer: str, label: str) -> bool:
    """Whether an answer names `label`: "Paris." names "Paris", " Sci" names "Sci/Tech", " pos" names "positive".

    Punctuation at the ends does not count. Both are in Unicode's compatibility form (NFKC). The answer is right if
    it equals the label or the label's first words. A task's engine generates one token, which may be a part of the
    label's first words: of that at least `FRAGMENT` characters, so "n" does not name "negative". A part of a number
    names nothing.
    """
    said, wanted = _plain(answer), _plain(label)
    if not said or not wanted:  # punctuation is compared as it is
        return bool(answer.strip()) and answer.strip() == label.strip()
    if said == wanted:
        return True
    words = _BETWEEN.split(said)
    if words == _BETWEEN.split(wanted)[: len(words)]:
        return True
    is_cut_number = said[-1].isdigit() and wanted[len(said) : len(said) + 1].isdigit()
    return len(said) >= FRAGMENT and wanted.startswith(said) and not is_cut_number


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip(_EDGES)


def label_matches(answer: str, label: str) -> bool:
    """Whether a classifier's top label is `label`, exactly."""
    return answer == label


def is_correct(kind: str, answer: str, label: str) -> bool:
    """Whether an answer to an example of a task's `kind` is right. ValueError for another kind.

    Answers that a model generates have a kind of their own for each scorer: see `variants.metrics.answer_scores`.

    - "text": the answer is the label or its first token, chosen by likelihood
    - "image", "article": the top label
    - "ranked": the first labels, one a line; the right one is among them
    - "triplet": which of two texts is nearer to the first one
    - "choice": the likeliest ending
    - "drawing": the digit that a classifier reads in the picture
    - "boxes": all boxes of the label and no other
    """
    if (score := score_of(kind, answer, label)) is not None:
        return score == 1
    if kind == "text":
        return text_matches(answer, label)
    if kind == "boxes":
        return boxes_outcome(answer, label) == 1
    if kind in ("image", "article", "triplet", "choice", "drawing"):
        return label_matches(answer, label)
    if kind == "ranked":
        return label in answer.splitlines()
    raise ValueError(
        f"no scorer for tasks of kind {kind!r}: text, image, article, ranked, triplet, choice, drawing or boxes"
    )


def surprise_of(nats: float, tokens: int) -> str:
    """An answer to a passage as text: the sum of its tokens' surprises in nats, and the number of tokens."""
    return f"{nats:.4f} {tokens}"


def surprise(answer: str) -> tuple[float, int]:
    """The two numbers of a text by `surprise_of`. ValueError for any other text."""
    nats, tokens = answer.split()
    return float(nats), int(tokens)


def macro_f1(answers: Sequence[str], labels: Sequence[str]) -> float:
    """The mean of the F1 of every class in `labels`. F1 is the harmonic mean of precision and recall.

    A rare class counts as much as a common one. ValueError when the lengths differ or are zero.
    """
    if not labels or len(answers) != len(labels):
        raise ValueError(f"{len(answers)} answers for {len(labels)} labels")
    right = Counter(label for answer, label in zip(answers, labels, strict=True) if answer == label)
    said, wanted = Counter(answers), Counter(labels)
    return math.fsum(2 * right[name] / (said[name] + wanted[name]) for name in wanted) / len(wanted)


def nearer(embeddings: Sequence[Sequence[float]]) -> str:
    """Which of two embeddings has the greater cosine to an anchor: "first", "second", or "" where neither has.

    `embeddings` holds the anchor, the first and the second. ValueError unless these are three of equal length.
    """
    if len(embeddings) != 3 or len({len(embedding) for embedding in embeddings}) != 1:
        raise ValueError(
            f"embeddings of {[len(embedding) for embedding in embeddings]} numbers, not three of one length"
        )
    anchor, first, second = embeddings
    difference = cosine(anchor, first) - cosine(anchor, second)
    return "first" if difference > 0 else "second" if difference < 0 else ""


def cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """The cosine of two vectors; NaN where one of them is zero."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return math.fsum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else math.nan


def numbers_of(embedding: str | Sequence[float]) -> Sequence[float]:
    """The numbers of an embedding in OpenAI's API: a list, or base64 of little-endian float32. ValueError otherwise."""
    if not isinstance(embedding, str):
        return [float(number) for number in embedding]
    numbers = array("f")
    numbers.frombytes(base64.b64decode(embedding, validate=True))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def first_tokens(encoded: Sequence[Sequence[int]], labels: Sequence[str]) -> list[int]:
    """The first token id of each encoded label. ValueError when two labels share it: their likelihoods would be
    equal."""
    firsts = [tokens[0] for tokens in encoded]
    if len(set(firsts)) != len(firsts):
        shared = [label for label, first in zip(labels, firsts, strict=True) if firsts.count(first) > 1]
        raise ValueError(f"labels share their first token: {', '.join(shared)}")
    return firsts
