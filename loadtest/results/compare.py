"""A variant against its parent, each in three states: better, worse, or cannot tell. Pure; words are
`words.py`'s.

Speed. Slices take turns, so slice k of the variant and slice k of the parent saw the same machine, and
their ratio cancels what drifts slowly. Faster (slower) means that every slice of the variant was above
(below) every slice of the parent, and the median ratio is at least `MARGIN` away from 1. With three slices
each and no difference in truth, one side lies wholly above the other by chance in 1 of 10 comparisons: with
few slices, take a narrow "faster" with that in mind.

Accuracy. Both answered the same examples, so the difference is judged on the pairs: examples that both got
right, or both wrong, say nothing of it.
"""

import statistics
from typing import Literal

from pydantic import BaseModel, ConfigDict

from variants.evidence.intervals import Interval, paired_difference

SpeedVerdict = Literal["faster", "slower", "cannot tell"]
AccuracyVerdict = Literal["better", "worse", "cannot tell"]

MARGIN = 0.02


class Figures(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SpeedRatio(Figures):
    """Variant over parent, of `metric`: median, least and greatest of the ratios of slices taken in turns."""

    metric: Literal["output_tokens_per_s", "throughput_rps"]
    median: float
    low: float
    high: float
    slices: int
    verdict: SpeedVerdict


class AccuracyDifference(Figures):
    """Variant minus parent on the same `n` examples, with the 95 % interval of the paired difference; of the share of
    right answers, or of `metric`."""

    task: str
    metric: str = "accuracy"
    difference: float
    low: float
    high: float
    n: int
    verdict: AccuracyVerdict


def speed_ratio(
    metric: Literal["output_tokens_per_s", "throughput_rps"], variant: list[float], parent: list[float]
) -> SpeedRatio | None:
    """Ratios of slices by position; None when a side has no slices, or the parent a slice in which nothing
    came.
    """
    pairs = list(zip(variant, parent, strict=False))
    if not pairs or min(parent) <= 0:
        return None
    ratios = [mine / theirs for mine, theirs in pairs]
    median = statistics.median(ratios)
    verdict: SpeedVerdict = "cannot tell"
    if min(variant) > max(parent) and median >= 1 + MARGIN:
        verdict = "faster"
    elif max(variant) < min(parent) and median <= 1 - MARGIN:
        verdict = "slower"
    return SpeedRatio(
        metric=metric, median=median, low=min(ratios), high=max(ratios), slices=len(ratios), verdict=verdict
    )


def accuracy_difference(task: str, variant: dict[str, bool], parent: dict[str, bool]) -> AccuracyDifference | None:
    """By example id; only examples that both answered count. None when there are none."""
    both = [example for example in variant if example in parent]
    if not both:
        return None
    interval = paired_difference([variant[each] for each in both], [parent[each] for each in both])
    return judged(task, "accuracy", interval, len(both))


def judged(task: str, metric: str, interval: Interval, n: int) -> AccuracyDifference:
    """The difference with its verdict: better or worse where its interval leaves out 0."""
    verdict: AccuracyVerdict = "cannot tell"
    if interval.low > 0:
        verdict = "better"
    elif interval.high < 0:
        verdict = "worse"
    return AccuracyDifference(
        task=task,
        metric=metric,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        n=n,
        verdict=verdict,
    )
