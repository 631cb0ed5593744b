"""The mAP50 of a detector from a campaign's records, and paired differences between variants.

Mean average precision is not a mean over requests. So it is computed from the answers in the records, and not from
`correct`, which says whether all boxes of an image are right.
"""

from collections.abc import Iterable

from loadtest.results.compare import AccuracyDifference, judged
from loadtest.results.records import Record, by_example
from loadtest.results.schema import AccuracyFigure
from variants.evidence.detection import difference, measure

METRIC = "mAP50"


def answered(records: Iterable[Record]) -> dict[str, dict[str, tuple[str, str]]]:
    """Answer and label by task and example, from the accuracy part. Raises IntegrityError for a repeated example."""
    return by_example(
        records,
        lambda record: None if record.answer is None or record.label is None else (record.answer, record.label),
    )


def accuracies(records: Iterable[Record]) -> Iterable[AccuracyFigure]:
    """The mAP50 on each task."""
    for task, examples in sorted(answered(records).items()):
        answers, labels = zip(*(examples[each] for each in sorted(examples)), strict=True)
        yield AccuracyFigure(task=task, metric=METRIC, n=len(examples), **vars(measure(METRIC, answers, labels)))


def differences(variant: Iterable[Record], parent: Iterable[Record]) -> Iterable[AccuracyDifference]:
    """The difference in mAP50 on each task that both answered, from the images that both answered."""
    mine, theirs = answered(variant), answered(parent)
    for task in sorted(mine.keys() & theirs.keys()):
        order = sorted(mine[task].keys() & theirs[task].keys())
        if not order:
            continue
        ours, others = ([of[task][each][0] for each in order] for of in (mine, theirs))
        labels = [mine[task][each][1] for each in order]
        yield judged(task, METRIC, difference(METRIC, ours, others, labels), len(order))
