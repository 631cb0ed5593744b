"""Labelled boxes: what a detector answers and what is right, as one line of JSON, and how well two lists of them agree.

The text travels wherever another task has its label: in an example, in `x-understudy-label`, in a campaign's records.
One request's outcome is its F1: boxes are matched one to one, same label, overlap at least 0.5, surest first. It lies
between 0 and 1 and is symmetric, so it scores a live answer against its label, and two answers to one image against
each other. mAP is not a mean of such outcomes: `variants.evidence.average_precision` has it. Pure, no numpy.
"""

import json
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

OVERLAP = 0.5
"""Intersection over union from which on two boxes are one."""
SURE = 0.3
"""Scores from which on a box counts as an answer in F1. Detectors answer far below it, because mAP ranks them all."""


class Box(NamedTuple):
    """`left`, `top`, `right`, `bottom` in pixels of the image that was sent; `score` 0 to 1, 1 for what is right."""

    label: str
    left: float
    top: float
    right: float
    bottom: float
    score: float = 1.0


def to_text(boxes: Iterable[Box]) -> str:
    """One line of ASCII JSON: `[{"label": "7", "box": [left, top, right, bottom], "score": 0.9}]`, no score at 1."""
    entries = []
    for label, *corners, score in boxes:
        entries.append({"label": label, "box": corners} | ({"score": score} if score != 1.0 else {}))
    return json.dumps(entries, separators=(",", ":"))


def from_text(text: str) -> list[Box]:
    """The boxes of `to_text`. ValueError, naming the entry, for anything else."""
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
    """The boxes of an answer's tensors, to hundredths of a pixel: wherever an answer is scored, its numbers are these.
    ValueError unless there are as many of each."""
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
    """Intersection over union of two boxes, labels aside; 0 where both are without area."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    shared = max(width, 0.0) * max(height, 0.0)
    union = _area(one) + _area(other) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def agreement(boxes: Sequence[Box], wanted: Sequence[Box]) -> float:
    """F1 of the boxes of `boxes` against those of `wanted`, 0 to 1, each from `SURE` on; 1 where neither has any."""
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
    """`agreement` of an answer with a label, both as text. ValueError where one is no list of boxes."""
    return agreement(from_text(answer), from_text(label))
