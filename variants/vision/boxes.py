"""Labelled boxes as one line of JSON, and how well two lists of boxes agree. Pure Python without numpy.

Detectors answer with this text, and it is the label of an example. It stands wherever another task has its label: in an
example, in `x-understudy-label`, in the records of a campaign.

The outcome of one request is its F1. Boxes are matched one to one, highest score first, with the same label and an
overlap of at least 0.5. The outcome is between 0 and 1 and symmetric. So it scores an answer against its label, and two
answers to one image against each other. mAP is not a mean of such outcomes: see
`variants.evidence.average_precision`.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OVERLAP = 0.5
"""The lowest intersection over union of two boxes that match."""
SURE = 0.3
"""The lowest score of a box that counts in F1. Detectors also answer lower ones, because mAP ranks all of them."""


class Box(NamedTuple):
    """`left`, `top`, `right`, `bottom` are in pixels of the image that was sent. `score` is 0 to 1, for a label 1."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0


def to_text(boxes: Iterable[Box]) -> str:
    """One line of ASCII JSON: `[{"label": "7", "box": [left, top, right, bottom], "score": 0.9}]`.

    A score of 1 is left out.
    """
    entries = []
    for label, *corners, score in boxes:
        entries.append({"label": label, "box": corners} | ({"score": score} if score != 1.0 else {}))
    return json.dumps(entries, separators=(",", ":"))


def from_text(text: str) -> list[Box]:
    """The boxes of a text by `to_text`. ValueError, which names the entry, for any other text."""
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(entries, list):
        raise ValueError('not a list of {"label", "box": [left, top, right, bottom]}')
    return [_box(entry, f"[{i}]") for i, entry in enumerate(entries)]


def from_tensors(
    corners: Sequence[Sequence[float]], scores: Sequence[float], labels: Sequence[str | bytes]
) -> list[Box]:
    """The boxes of an answer's tensors: `corners` [n, 4], `scores` [n], `labels` [n]. ValueError for other lengths.

    Corners are rounded to hundredths of a pixel, so that an answer is scored alike everywhere.
    """
    boxes = []
    for sides, score, label in zip(corners, scores, labels, strict=True):
        name = label if isinstance(label, str) else label.decode()
        left, top, right, bottom = (round(float(side), 2) for side in sides)
        boxes.append(Box(name, left, top, right, bottom, round(float(score), 5)))
    return boxes


def _box(entry: object, path: str) -> Box:
    if not isinstance(entry, dict) or not {"label", "box"} <= entry.keys() <= {"label", "box", "score"}:
        raise ValueError(f'{path}: not {{"label", "box"}}, or with a "score"')
    label, corners, score = entry["label"], entry["box"], entry.get("score", 1.0)
    if not isinstance(label, str):
        raise ValueError(f"{path}.label: not text")
    if not isinstance(corners, list) or len(corners) != 4 or not all(map(_is_number, corners)):
        raise ValueError(f"{path}.box: not four numbers")
    left, top, right, bottom = map(float, corners)
    if right < left or bottom < top:
        raise ValueError(f"{path}.box: right of its right side or below its bottom")
    if not _is_number(score) or not 0 <= score <= 1:
        raise ValueError(f"{path}.score: not a number from 0 to 1")
    return Box(label, left, top, right, bottom, float(score))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, whatever their labels; 0 where both have no area."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    union = _area(one) + _area(other) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def agreement(boxes: Sequence[Box], wanted: Sequence[Box]) -> float:
    """The F1 of `boxes` against `wanted`, 0 to 1, over boxes with a score from `SURE` on; 1 where neither has any."""
    mine = sorted((box for box in boxes if box.score >= SURE), key=lambda box: -box.score)
    theirs = sorted((box for box in wanted if box.score >= SURE), key=lambda box: -box.score)
    if not mine and not theirs:
        return 1.0
    left, matched = list(theirs), 0
    for box in mine:
        same = [(overlap(box, other), -at) for at, other in enumerate(left) if other.label == box.label]
        best, at = max(same, default=(0.0, 0))
        if best >= OVERLAP:
            del left[-at]
            matched += 1
    return 2 * matched / (len(mine) + len(theirs))


def outcome(answer: str, label: str) -> float:
    """The `agreement` of an answer with a label, both as text. ValueError where one is not a list of boxes."""
    return agreement(from_text(answer), from_text(label))
