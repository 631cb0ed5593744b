"""Figures of pictures without a label: how much contrast they have, and whether two are nearly the same.

No label says what a picture must show. So a variant is told from its parent by their pictures of the same prompts and
seeds. An answer is a small version of the picture, because outcomes are stored: it shows what is seen as a whole, and
no fine detail.
"""

import base64
import statistics
from collections.abc import Sequence

from variants.evidence import bootstrap
from variants.evidence.intervals import Interval
from variants.metrics.base import SEED, Metric
from variants.metrics.outcome import Outcome
from variants.vision.picture import picture_of

SIDE, WHITE = 32, 255
ALIKE = 0.95
"""Two pictures with at least this likeness count as the same. Pictures of different prompts are at 0.6 to 0.8."""


def thumbnail(picture: bytes) -> str:
    """An encoded picture as 32 x 32 pixels of 3 bytes, in base64. InputError for what is no picture."""
    small = picture_of(picture, "picture").convert("RGB").resize((SIDE, SIDE), reducing_gap=2.0)
    return base64.b64encode(small.tobytes()).decode()


def likeness(one: str, other: str) -> float:
    """1 less the mean absolute difference of the pixels of two thumbnails, from 0 to 1."""
    pairs = zip(base64.b64decode(one), base64.b64decode(other), strict=True)
    return 1 - statistics.fmean(abs(a - b) for a, b in pairs) / WHITE


def contrast(answer: str) -> float:
    """The standard deviation of a thumbnail's values, from 0 to 1: 0 for a picture of one colour."""
    return statistics.pstdev(base64.b64decode(answer)) / WHITE


class Contrast(Metric):
    """The mean contrast of the pictures. A model that draws nothing has none. Pictures agree where they are alike."""

    def agrees(self, answer: str, other: str) -> bool:
        return likeness(answer, other) >= ALIKE

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return bootstrap.interval(self._mean(outcomes), len(outcomes), seed=SEED)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        return bootstrap.paired_difference(self._mean(ours), self._mean(theirs), len(ours), seed=SEED)

    def _mean(self, outcomes: Sequence[Outcome]) -> bootstrap.Statistic:
        return bootstrap.mean([contrast(each.answer) for each in outcomes])


CONTRAST = Contrast("contrast", "")
