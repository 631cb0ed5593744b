"""The figure of a task of lm-evaluation-harness: the mean of its values for single samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from variants.document import Document, Sha256
from variants.evidence import bootstrap
from variants.evidence.intervals import Interval, paired_difference, wilson
from variants.metrics.base import SEED, Metric
from variants.metrics.outcome import Outcome

SHARES = ("acc", "acc_norm", "acc_bytes", "acc_mutual_info", "acc_all", "exact_match")
"""The harness' metrics that are 0 or 1 for each sample."""


class Harness(Document):
    """What the harness measured with: its version, and the task's own version and definition."""

    version: Annotated[str, Field(min_length=1)]
    task_version: str
    definition_sha256: Sha256


@dataclass(frozen=True)
class SampleMean(Metric):
    """The mean of the samples' values. Where every value is 0 or 1 the intervals are those of a share (Wilson's and
    Newcombe's), else seeded bootstraps."""

    def agrees(self, answer: str, other: str) -> bool | None:
        return answer.strip() == other.strip() if answer and other else None

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        values = values_of(outcomes)
        if are_shares(values):
            return wilson(int(sum(values)), len(values))
        return bootstrap.interval(bootstrap.mean(values), len(values), seed=SEED)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        first, second = values_of(ours), values_of(theirs)
        if are_shares([*first, *second]):
            return paired_difference([value == 1 for value in first], [value == 1 for value in second])
        one, other = bootstrap.mean(first), bootstrap.mean(second)
        return bootstrap.paired_difference(one, other, len(first), seed=SEED)


def values_of(outcomes: Sequence[Outcome]) -> list[float]:
    return [float(each.correct) if each.value is None else each.value for each in outcomes]


def are_shares(values: Sequence[float]) -> bool:
    return all(value in (0, 1) for value in values)
