"""What a campaign's records say of a detector: mAP50 over all its images, and how much two variants differ on the same.

The share of images whose boxes are all right stands in the records too (`correct`), but a detector is judged by mean
average precision, which is no mean over requests: it is computed from the answers that the records keep.
"""

from collections.abc import Iterable

from loadtest.results.compare import AccuracyDifference, judged
from loadtest.results.records import Record
from loadtest.results.schema import AccuracyFigure
from variants.errors import IntegrityError
from variants.evidence.detection import difference, measure

METRIC = "mAP50"


def answered(records: Iterable[Record]) -> dict[str, dict[str, Record]]:
    """Task -> example -> its record, of the accuracy part. Raises IntegrityError on a repeat."""
    tasks: dict[str, dict[str, Record]] = {}
    for record in records:
        if record.part != "accuracy" or record.label is None or record.answer is None or record.failed:
            continue
        task = tasks.setdefault(record.task, {})
        if record.example in task:
            raise IntegrityError(f"{record.example} was asked twice: repeats are not data", field=record.task)
        task[record.example] = record
    return tasks


def accuracies(records: Iterable[Record]) -> Iterable[AccuracyFigure]:
    """One a task."""
    for task, found in sorted(answered(records).items()):
        order = sorted(found)
        answers, labels = [found[each].answer or "" for each in order], [found[each].label or "" for each in order]
        interval = measure(METRIC, answers, labels)
        yield AccuracyFigure(
            task=task, metric=METRIC, value=interval.value, low=interval.low, high=interval.high, n=len(order)
        )


def differences(variant: Iterable[Record], parent: Iterable[Record]) -> Iterable[AccuracyDifference]:
    """One a task that both answered; only images that both answered count."""
    mine, theirs = answered(variant), answered(parent)
    for task in sorted(mine.keys() & theirs.keys()):
        order = sorted(mine[task].keys() & theirs[task].keys())
        if not order:
            continue
        ours, others = ([of[task][each].answer or "" for each in order] for of in (mine, theirs))
        labels = [mine[task][each].label or "" for each in order]
        yield judged(task, METRIC, difference(METRIC, ours, others, labels), len(order))
