"""Compares a variant with its parent. The verdict is better, worse, or cannot tell. Pure functions.

Speed. The slices of a variant and its parent take turns, so the ratio of two neighbours cancels a slow drift of the
machine. A variant is faster (slower) if each of its slices is above (below) each slice of its parent, and the median
ratio is at least `MARGIN` away from 1. With three slices each and no true difference, one variant is above the other by
chance in 1 of 10 comparisons. So with few slices a small difference is weak evidence.

Accuracy. Both variants answered the same examples. Examples that both got right, or both wrong, say nothing about the
difference.
"""

import statistics
from typing import Literal

from pydantic import Field

from variants.document import Document
from variants.evidence.intervals import Interval, paired_difference
from variants.metrics.base import Unit
from variants.reports import sentences

SpeedVerdict = Literal["faster", "slower", "cannot tell"]
AccuracyVerdict = Literal["better", "worse", "cannot tell"]
Metric = Literal["output_tokens_per_s", "throughput_rps"]

MARGIN = 0.02


def is_share(unit: Unit) -> bool:
    """For `exclude_if`: summaries of before 2026-11-30 have no unit."""
    return unit == "share"


class SpeedRatio(Document):
    """Variant over parent in `metric`: the median, lowest and highest of the ratios of slices."""

    metric: Metric
    median: float
    low: float
    high: float
    slices: int
    verdict: SpeedVerdict


class AccuracyDifference(Document):
    """Variant minus parent in `metric` on the same `n` examples, with the 95 % interval of the paired difference.
    `accuracy` is the share of right answers. `unit` is that of the metric."""

    task: str
    metric: str = "accuracy"
    difference: float
    low: float
    high: float
    n: int
    verdict: AccuracyVerdict
    unit: Unit = Field(default="share", exclude_if=is_share)

    @property
    def value(self) -> float:
        return self.difference


def speed_ratio(metric: Metric, variant: list[float], parent: list[float]) -> SpeedRatio | None:
    """The ratios of slices by position. None if one side has no slices, or the parent has a slice without answers."""
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
    """The difference of the shares of right answers. `variant` and `parent` say by example id whether an answer is
    right. Only examples that both answered count; None if there are none."""
    both = [example for example in variant if example in parent]
    if not both:
        return None
    interval = paired_difference([variant[each] for each in both], [parent[each] for each in both])
    return judged(task, "accuracy", interval, len(both))


def judged(task: str, metric: str, interval: Interval, n: int, unit: Unit = "share") -> AccuracyDifference:
    """The difference with its verdict: better or worse if its interval excludes 0."""
    return AccuracyDifference(
        task=task,
        metric=metric,
        difference=interval.value,
        low=interval.low,
        high=interval.high,
        n=n,
        verdict=sentences.verdict(interval) or "cannot tell",
        unit=unit,
    )
