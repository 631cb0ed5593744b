"""Metrics: what a task's outcomes come to, with an interval, and how much two variants differ on the same examples.

A task names its metrics, the first of them the one it is judged by. `AccuracyMetric` counts right answers. `Statistic`
is for whatever else can be computed from the outcomes of many examples at once: perplexity, mean average precision,
macro-F1, a distance between distributions. Its intervals are paired percentile bootstraps over examples (B. Efron 1979,
"Bootstrap methods: another look at the jackknife"), seeded; they say how the figure varies with the draw of examples
and nothing of a model's training. A task that knows a better interval gives a metric of its own."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

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
        draws = [self.of([outcomes[i] for i in chosen]) for chosen in self._draws(len(outcomes))]
        return _percentiles(self.of(outcomes), draws)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        if len(ours) != len(theirs):
            raise ValueError(f"{len(ours)} and {len(theirs)} outcomes: need the same examples")
        draws = [
            self.of([ours[i] for i in chosen]) - self.of([theirs[i] for i in chosen])
            for chosen in self._draws(len(ours))
        ]
        return _percentiles(self.of(ours) - self.of(theirs), draws)

    def _draws(self, n: int) -> list[list[int]]:
        if n == 0:
            raise ValueError("no outcomes")
        draw = random.Random(SEED)
        return [draw.choices(range(n), k=n) for _ in range(self.resamples)]


def _percentiles(value: float, draws: Sequence[float]) -> Interval:
    """The 2.5th and the 97.5th percentile; a figure that is biased in resamples still lies in its interval."""
    ordered = sorted(draws)
    low, high = ordered[int(0.025 * len(ordered))], ordered[min(len(ordered) - 1, int(0.975 * len(ordered)))]
    return Interval(value, min(low, value), max(high, value))


ACCURACY = AccuracyMetric("accuracy", "share")
