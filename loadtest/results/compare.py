"""Comparison of a variant with its parent in three states: better, worse, or cannot tell. Pure functions.

Speed. Slices take turns, so slice k of the variant and slice k of the parent saw the same machine, and their ratio
cancels slow drift. Faster (slower) means that every slice of the variant was above (below) every slice of the parent,
and the median ratio is at least `MARGIN` away from 1. With three slices each and no true difference, all slices of one
side are above those of the other by chance in 1 of 10 comparisons. With few slices, a narrow "faster" is weak evidence.

Accuracy. Both answered the same examples, so the difference is judged on the pairs: examples that both got right, or
both wrong, carry no information on it.
"""

import statistics
from typing import Literal

from variants.document import Document
from variants.evidence.intervals import Interval, paired_difference
from variants.reports import sentences

SpeedVerdict = Literal["faster", "slower", "cannot tell"]
AccuracyVerdict = Literal["better", "worse", "cannot tell"]
Metric = Literal["output_tokens_per_s", "throughput_rps"]

MARGIN = 0.02


class SpeedRatio(Document):
    """Variant over parent, of `metric`: median, lowest and highest of the ratios of slices taken in turns."""

    metric: Metric
    median: float
    low: float
    high: float
    slices: int
    verdict: SpeedVerdict


class AccuracyDifference(Document):
    """Variant minus parent on the same `n` examples, with the 95 % interval of the paired difference. Of the share of
    right answers, or of `metric`."""

    task: str
    metric: str = "accuracy"
    difference: float
    low: float
    high: float
    n: int
    verdict: AccuracyVerdict

    @property
    def value(self) -> float:
        return self.difference


def speed_ratio(metric: Metric, variant: list[float], parent: list[float]) -> SpeedRatio | None:
    """Ratios of slices by position; None when a side has no slices, or the parent one without answers."""
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
    """Of right answers by example id; only examples that both answered count. None when there are none."""
    both = [example for example in variant if example in parent]
    if not both:
        return None
    interval = paired_difference([variant[each] for each in both], [parent[each] for each in both])
    return judged(task, "accuracy", interval, len(both))


def judged(task: str, metric: str, interval: Interval, n: int) -> AccuracyDifference:
    """The difference with its verdict: better or worse where its interval leaves out 0."""
    return AccuracyDifference(
        task=task,
        metric=metric,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        n=n,
        verdict=sentences.verdict(interval) or "cannot tell",
    )
