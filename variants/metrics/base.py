"""Metrics: the figures of a task with their intervals, and the difference of two variants on the same examples.

A task lists its metrics, the most important one first. `AccuracyMetric` counts right answers. `Statistic` computes
any other figure, such as macro-F1, from the outcomes of many examples. Its intervals are seeded percentile bootstraps
over examples (`variants.evidence.bootstrap`). They say how the figure varies with the sample of examples. They say
nothing about how it varies with a model's training. A metric with a better interval is a class of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from variants.evidence import bootstrap
from variants.evidence.intervals import Interval, paired_difference, wilson
from variants.metrics.outcome import Outcome
from variants.metrics.scoring import is_correct

Unit = Literal["share", ""]
SEED = 20261125


@dataclass(frozen=True)
class Metric:
    """One figure of a task. `unit` "share" is shown in percent. `better` says which values are better."""

    name: str
    unit: Unit
    better: Literal["higher", "lower"] = "higher"

    def right(self, kind: str, answer: str, label: str) -> bool:
        """Whether an answer counts as right; always False for metrics without right answers."""
        return False

    def agrees(self, answer: str, other: str) -> bool | None:
        """Whether two answers to one example are the same; None where single answers cannot be compared."""
        return None

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        """The figure with its 95 % interval. ValueError when there are no outcomes."""
        raise NotImplementedError

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        """Our figure less theirs, with its 95 % interval. Position i of both is the same example."""
        raise NotImplementedError


class AccuracyMetric(Metric):
    """The share of right answers, with Wilson's interval, and Newcombe's for differences."""

    def right(self, kind: str, answer: str, label: str) -> bool:
        return is_correct(kind, answer, label)

    def agrees(self, answer: str, other: str) -> bool | None:
        return answer.strip() == other.strip()

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return wilson(sum(outcome.correct for outcome in outcomes), len(outcomes))

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        return paired_difference([each.correct for each in ours], [each.correct for each in theirs])


@dataclass(frozen=True, kw_only=True)
class Statistic(Metric):
    """A figure that `of` computes from outcomes. The bootstrap draws with replacement, so outcomes may be repeated."""

    of: Callable[[Sequence[Outcome]], float]

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return bootstrap.interval(self._of_counts(outcomes), len(outcomes), seed=SEED)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} and {len(theirs)} outcomes: need the same examples")
        first, second = self._of_counts(ours), self._of_counts(theirs)
        return bootstrap.paired_difference(first, second, len(ours), seed=SEED)

    def _of_counts(self, outcomes: Sequence[Outcome]) -> bootstrap.Statistic:
        """The figure as a function of the counts: how often each outcome was drawn."""
        return lambda counts: self.of(
            [each for each, count in zip(outcomes, counts, strict=True) for _ in range(count)]
        )


ACCURACY = AccuracyMetric("accuracy", "share")
