"""How near the answer that a model writes by itself is to a reference answer of its parent.

Scores of one given text (`variants.evidence.agreement`) do not show that a model never stops, repeats itself or drifts
away from the subject: there the parent has written every token before. So both models also write an answer
each, at temperature 0 or with the same seed. The score of an answer is a product of three factors in [0, 1]:

    overlap     F1 of the words of both, each counted as often as it occurs in both (ROUGE-1, Lin 2004, ACL W04-1013),
                as a share of `ENOUGH`, at most 1
    stop        1, or `STOP_DIFFERS` where one reached its limit of tokens and the other ended by itself
    repetition  1 minus the share of repeated 4-grams that the answer has above the reference

Equal answers score 1. Two texts that part may still say the same, so their order plays no part, and half of the words
are enough. Tool calls and JSON score 1 where names and parsed values are equal, else 0. The order of keys and blanks do
not matter there.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from operator import eq
from typing import Any

GRAM = 4
ENOUGH = 0.5
"""Overlap of answers that say the same in other words: those of a sound int8 have 0.63 on average, of other prompts
0.15 (docs/decisions.md)."""
STOP_DIFFERS = 0.5
LENGTH = "length"
"""The finish reason of an answer that reached its limit of tokens."""
WORDS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]|[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+|[^\w\s]")
"""A word, a mark, or a character of a script that has no blanks between words."""


@dataclass(frozen=True)
class FreeAnswer:
    """One answer. `finish` is its finish reason. `calls` are pairs of a tool's name and its arguments as JSON."""

    text: str
    finish: str | None = None
    calls: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> str:
        """The text and all calls, as one text."""
        return "\n".join([self.text, *(f"{name} {arguments}" for name, arguments in self.calls)])


@dataclass(frozen=True)
class Checks:
    """How an answer differs from its reference. `same_until` is the share of the reference's characters before both
    part. `length_ratio` is in words, `repetition` the difference of the shares of repeated 4-grams."""

    equal: int
    same_until: float
    length_ratio: float
    stop_differs: int
    repetition: float


def score(answer: FreeAnswer, reference: FreeAnswer) -> float:
    """From 0 to 1: see above."""
    if reference.calls or answer.calls or is_json(reference.text):
        return float(is_same(answer, reference))
    stop = STOP_DIFFERS if stops_differ(answer, reference) else 1.0
    excess = max(0.0, repeated(answer.text) - repeated(reference.text))
    return min(1.0, overlap(answer.text, reference.text) / ENOUGH) * stop * (1 - excess)


def compare(answer: FreeAnswer, reference: FreeAnswer) -> Checks:
    """All checks of one answer, rounded to four digits."""
    one, other = answer.whole, reference.whole
    equal = is_same(answer, reference)
    alike = sum(takewhile(bool, map(eq, one, other)))
    return Checks(
        equal=int(equal),
        same_until=1.0 if equal else round(alike / max(1, len(other)), 4),
        length_ratio=round(len(words(one)) / max(1, len(words(other))), 4),
        stop_differs=int(stops_differ(answer, reference)),
        repetition=round(repeated(one) - repeated(other), 4),
    )


def is_same(answer: FreeAnswer, reference: FreeAnswer) -> bool:
    """Whether both have the same text and the same calls in the same order. JSON is compared as values."""
    names = [name for name, _ in answer.calls] == [name for name, _ in reference.calls]
    texts = [
        (answer.text, reference.text),
        *((a[1], b[1]) for a, b in zip(answer.calls, reference.calls, strict=False)),
    ]
    return names and all(is_same_text(one, other) for one, other in texts)


def is_same_text(one: str, other: str) -> bool:
    if one.strip() == other.strip():
        return True
    try:
        return is_json(other) and is_same_value(parsed(one), parsed(other))
    except (ValueError, RecursionError):
        return False


def is_json(text: str) -> bool:
    """Whether a text is a JSON object or array."""
    try:
        return isinstance(parsed(text), dict | list)
    except (ValueError, RecursionError):
        return False


def parsed(text: str) -> Any:
    """The value of a JSON text, with exact numbers. Raises ValueError, RecursionError."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def is_same_value(one: Any, other: Any) -> bool:
    """Equality of JSON values. 1 and 1.0 are equal, 1 and true are not. Raises RecursionError."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_same_value(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same_value, one, other))
    return type(one) is type(other) and bool(one == other)


def stops_differ(answer: FreeAnswer, reference: FreeAnswer) -> bool:
    """Whether one of both reached its limit of tokens and the other did not."""
    return (answer.finish == LENGTH) != (reference.finish == LENGTH)


def words(text: str) -> list[str]:
    return WORDS.findall(text)


def overlap(one: str, other: str) -> float:
    """F1 of the words of two texts, from 0 to 1. Two texts without words are equal."""
    ours, theirs = Counter(words(one)), Counter(words(other))
    total = ours.total() + theirs.total()
    return 2 * (ours & theirs).total() / total if total else 1.0


def repeated(text: str) -> float:
    """The share of 4-grams of words that occurred before in the text; 0 for a text of fewer words."""
    each = words(text)
    grams = list(zip(*(each[start:] for start in range(GRAM)), strict=False))
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
