"""Figures that are no share of right answers, from a campaign's records, and paired differences between variants.

The mAP50 of a detector and Spearman's correlation of an embedder are no means over requests. Both are computed from the
answers in the records, and not from `correct`: that says of an image whether all boxes are right, and is empty for a
pair of texts. The figure of a scorer of shares, such as F1, is the mean of its scores.
"""

from collections.abc import Iterable, Mapping

from loadtest.results.compare import AccuracyDifference, judged
from loadtest.results.records import Record, by_example
from loadtest.results.schema import AccuracyFigure
from variants.metrics.base import Metric
from variants.metrics.detection import METRICS
from variants.metrics.mean_score import MeanScore
from variants.metrics.outcome import Outcome
from variants.metrics.spearman import SPEARMAN

MAP50 = METRICS[0]


def answered(metric: Metric, records: Iterable[Record]) -> Mapping[str, Mapping[str, Outcome]]:
    """The outcomes that the metric is of, by task and example, from the accuracy part. Raises IntegrityError for a
    repeated example."""

    def outcome_of(record: Record) -> Outcome | None:
        if record.answer is None or record.label is None or not belongs(record, metric):
            return None
        return Outcome(record.example, record.label, record.answer, bool(record.correct), record.score)

    return by_example(records, outcome_of)


def belongs(record: Record, metric: Metric) -> bool:
    """Whether the answer is one that the metric is of."""
    if metric is SPEARMAN:
        return record.correct is None
    return not isinstance(metric, MeanScore) or record.scorer == metric.name


def of_scorers(records: Iterable[Record]) -> list[Metric]:
    """The metric of each scorer of shares that scored an answer."""
    return [MeanScore(name, "share") for name in sorted({each.scorer for each in records if each.scorer})]


def accuracies(metric: Metric, records: Iterable[Record]) -> Iterable[AccuracyFigure]:
    """The figure on each task."""
    for task, examples in sorted(answered(metric, records).items()):
        interval = metric.measure([examples[each] for each in sorted(examples)])
        yield AccuracyFigure(task=task, metric=metric.name, unit=metric.unit, n=len(examples), **vars(interval))


def differences(metric: Metric, variant: Iterable[Record], parent: Iterable[Record]) -> Iterable[AccuracyDifference]:
    """The difference on each task that both answered, from the examples that both answered."""
    mine, theirs = answered(metric, variant), answered(metric, parent)
    for task in sorted(mine.keys() & theirs.keys()):
        order = sorted(mine[task].keys() & theirs[task].keys())
        if not order:
            continue
        ours, others = ([of[task][each] for each in order] for of in (mine, theirs))
        yield judged(task, metric.name, metric.difference(ours, others), len(order), metric.unit)
