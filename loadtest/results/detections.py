"""Figures of a detector from a campaign's records: mAP50 over all its images, and paired differences between variants.

A record says whether all boxes of its image are right (`correct`). Mean average precision is no mean over requests, so
it is computed from the answers in the records.
"""

from collections.abc import Iterable

from loadtest.results.compare import AccuracyDifference, judged
from loadtest.results.records import Record, by_example
from loadtest.results.schema import AccuracyFigure
from variants.evidence.detection import difference, measure

METRIC = "mAP50"


def answered(records: Iterable[Record]) -> dict[str, dict[str, tuple[str, str]]]:
    """Task -> example -> answer and label, of the accuracy part. Raises IntegrityError on a repeat."""
    return by_example(
        records,
        lambda record: None if record.answer is None or record.label is None else (record.answer, record.label),
    )


def accuracies(records: Iterable[Record]) -> Iterable[AccuracyFigure]:
    """One a task."""
    for task, examples in sorted(answered(records).items()):
        answers, labels = zip(*(examples[each] for each in sorted(examples)), strict=True)
        interval = measure(METRIC, answers, labels)
        yield AccuracyFigure(
            task=task, metric=METRIC, value=interval.value, low=interval.low, high=interval.high, n=len(examples)
        )


def differences(variant: Iterable[Record], parent: Iterable[Record]) -> Iterable[AccuracyDifference]:
    """One a task that both answered; only images that both answered count."""
    mine, theirs = answered(variant), answered(parent)
    for task in sorted(mine.keys() & theirs.keys()):
        order = sorted(mine[task].keys() & theirs[task].keys())
        if not order:
            continue
        ours, others = ([of[task][each][0] for each in order] for of in (mine, theirs))
        labels = [mine[task][each][1] for each in order]
        yield judged(task, METRIC, difference(METRIC, ours, others, labels), len(order))
