"""Spearman's correlation as the metric of tasks whose examples are pairs of texts with a score."""

from collections.abc import Sequence

from variants.evidence import rank_correlation
from variants.evidence.intervals import Interval
from variants.metrics.base import SEED, Metric
from variants.metrics.outcome import Outcome


class Spearman(Metric):
    """The correlation of answers, which are cosines, with labels, which are scores. No answer is right or wrong."""

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return rank_correlation.measure(_cosines(outcomes), _scores(outcomes), seed=SEED)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        return rank_correlation.difference(_cosines(ours), _cosines(theirs), _scores(ours), seed=SEED)


def _cosines(outcomes: Sequence[Outcome]) -> list[float]:
    return [float(each.answer) for each in outcomes]


def _scores(outcomes: Sequence[Outcome]) -> list[float]:
    return [float(each.label) for each in outcomes]


SPEARMAN = Spearman("spearman", "")
