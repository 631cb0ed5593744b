"""A variant beside the artifact that it is judged against, example by example."""

from collections.abc import Sequence

from variants.artifacts.card import Agreement, Difference
from variants.evidence.intervals import wilson
from variants.metrics.outcome import Outcome
from variants.tasks import Task


def differences(task: Task, ours: Sequence[Outcome], theirs: Sequence[Outcome], parent: str) -> tuple[Difference, ...]:
    """One a metric of the task. ValueError unless position i of both is the same example."""
    _check(ours, theirs)
    figures = []
    for metric in task.metrics:
        interval = metric.difference(ours, theirs)
        figures.append(
            Difference(
                task=task.name,
                metric=metric.name,
                parent=parent,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                n=len(ours),
            )
        )
    return tuple(figures)


def agreement(task: Task, ours: Sequence[Outcome], theirs: Sequence[Outcome], parent: str) -> Agreement | None:
    """The share of same answers with Wilson's 95 % interval; None where the task's answers are not compared one by
    one. ValueError unless position i of both is the same example."""
    _check(ours, theirs)
    metric = task.metrics[0]
    same = [metric.agrees(one.answer, other.answer) for one, other in zip(ours, theirs, strict=True)]
    if any(each is None for each in same):
        return None
    interval = wilson(sum(map(bool, same)), len(same))
    return Agreement(
        task=task.name, parent=parent, value=interval.value, low=interval.low, high=interval.high, n=len(same)
    )


def _check(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> None:
    if [each.example_id for each in ours] != [each.example_id for each in theirs]:
        raise ValueError("outcomes of different examples cannot be paired")
