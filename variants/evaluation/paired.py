"""Compares a variant with its parent, example by example."""

from collections.abc import Sequence
from dataclasses import asdict

from variants.artifacts.card import Agreement, Difference
from variants.evidence.intervals import wilson
from variants.metrics.outcome import Outcome
from variants.tasks import Task


def differences(task: Task, ours: Sequence[Outcome], theirs: Sequence[Outcome], parent: str) -> tuple[Difference, ...]:
    """For each metric of the task, our figure less theirs, with its 95 % interval. `parent` is an artifact's digest.

    Raises ValueError unless position i of both is the same example.
    """
    _check(ours, theirs)
    return tuple(
        Difference(
            task=task.name,
            metric=metric.name,
            parent=parent,
            n=len(ours),
            **asdict(metric.difference(ours, theirs)),
        )
        for metric in task.metrics
    )


def agreement(task: Task, ours: Sequence[Outcome], theirs: Sequence[Outcome], parent: str) -> Agreement | None:
    """The share of same answers with Wilson's 95 % interval. None where single answers of the task are not compared.

    Raises ValueError unless position i of both is the same example.
    """
    _check(ours, theirs)
    metric = task.metrics[0]
    same = [metric.agrees(one.answer, other.answer) for one, other in zip(ours, theirs, strict=True)]
    if any(each is None for each in same):
        return None
    return Agreement(task=task.name, parent=parent, n=len(same), **asdict(wilson(sum(map(bool, same)), len(same))))


def _check(ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> None:
    if [each.example_id for each in ours] != [each.example_id for each in theirs]:
        raise ValueError("outcomes of different examples cannot be paired")
