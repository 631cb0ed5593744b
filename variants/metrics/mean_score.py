"""The figure of a scorer of shares, such as F1: the mean of the scores of single answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from variants.evidence import bootstrap
from variants.evidence.intervals import Interval
from variants.metrics.answer_scores import score_of
from variants.metrics.base import SEED, Metric
from variants.metrics.outcome import Outcome


@dataclass(frozen=True)
class MeanScore(Metric):
    """`name` is the scorer's. Each answer is scored once, unless its outcome has the score as `value`. The seeded
    bootstrap draws among the scores."""

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return bootstrap.interval(self._mean(outcomes), len(outcomes), seed=SEED)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} and {len(theirs)} outcomes: need the same examples")
        return bootstrap.paired_difference(self._mean(ours), self._mean(theirs), len(ours), seed=SEED)

    def _mean(self, outcomes: Sequence[Outcome]) -> bootstrap.Statistic:
        return bootstrap.mean([self._score(each) for each in outcomes])

    def _score(self, outcome: Outcome) -> float:
        if outcome.value is not None:
            return outcome.value
        return score_of(self.name, outcome.answer, outcome.label) or 0.0
