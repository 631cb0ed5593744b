"""Metrics: the figures of a task, with intervals, and the differences of two variants on the same examples.

A task names its metrics, the most important one first. `AccuracyMetric` counts right answers. `Statistic`
computes any other figure from the outcomes of many examples: perplexity, mean average precision, macro-F1. Its
intervals are paired percentile bootstraps over examples (`variants.evidence.bootstrap`), seeded. They say how the
figure varies with the draw of examples, and nothing of a model's training. A task that knows a better interval gives a
metric of its own."""

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
    """`unit` "share" is shown in percent; `better` says which way is better."""

    name: str
    unit: Unit
    better: Literal["higher", "lower"] = "higher"

    def right(self, kind: str, answer: str, label: str) -> bool:
        """Whether an answer counts as right; False where the metric does not ask."""
        return False

    def agrees(self, answer: str, other: str) -> bool | None:
        """Whether two answers to one example are the same; None where answers cannot be compared one by one."""
        return None

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        """The figure with its 95 % interval. ValueError when there are no outcomes."""
        raise NotImplementedError

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        """Our figure less theirs, with the 95 % interval; position i of both is the same example."""
        raise NotImplementedError


class AccuracyMetric(Metric):
    """The share of right answers: Wilson's interval, and Newcombe's for differences."""

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
    """`of` computes the figure from outcomes, repeats among them: a bootstrap draws with replacement. `same` says
    whether two answers are the same, where that means something."""

    of: Callable[[Sequence[Outcome]], float]
    same: Callable[[str, str], bool] | None = None
    resamples: int = 1000

    def agrees(self, answer: str, other: str) -> bool | None:
        return self.same(answer, other) if self.same else None

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        return bootstrap.interval(self._of_counts(outcomes), len(outcomes), seed=SEED, resamples=self.resamples)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} and {len(theirs)} outcomes: need the same examples")
        first, second = self._of_counts(ours), self._of_counts(theirs)
        return bootstrap.paired_difference(first, second, len(ours), seed=SEED, resamples=self.resamples)

    def _of_counts(self, outcomes: Sequence[Outcome]) -> bootstrap.Statistic:
        """The figure as a function of how often each outcome was drawn."""
        return lambda counts: self.of(
            [each for each, count in zip(outcomes, counts, strict=True) for _ in range(count)]
        )


ACCURACY = AccuracyMetric("accuracy", "share")
