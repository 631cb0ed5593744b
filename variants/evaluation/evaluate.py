"""Evaluates an artifact on a task: one outcome an example, through any `predict`.

This module uses no engine and no HTTP. The caller's `predict` asks the engine that serves the artifact, as a client
would. The scorers of live requests score its answers too. An example without an answer is not a wrong answer, so a
failing `predict` ends the evaluation.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict

from variants.artifacts.card import Accuracy
from variants.concurrency import together
from variants.metrics.outcome import Outcome
from variants.progress import NoProgress, Progress
from variants.tasks import Example, Task

SHIFTS = 3
Predict = Callable[[Example], Awaitable[str]]


async def evaluate(
    task: Task,
    examples: Sequence[Example],
    predict: Predict,
    concurrency: int = 8,
    progress: Progress | None = None,
) -> list[Outcome]:
    """One outcome for each example, in their order. At most `concurrency` examples are asked at a time.

    Raises ValueError where an example occurs twice, because repeats are not data. An error of `predict` cancels the
    open requests and is raised.
    """
    if len({example.id for example in examples}) != len(examples):
        raise ValueError("the same example twice: repeats are not data")
    free = asyncio.Semaphore(concurrency)
    answered = 0
    with (progress or NoProgress()).step(f"evaluating on {task.name}", total=len(examples)) as step:

        async def one(example: Example) -> Outcome:
            nonlocal answered
            async with free:
                answer = await predict(example)
            answered += 1
            step.to(answered)
            right = task.metrics[0].right(task.kind, answer, example.label)
            return Outcome(example.id, example.label, answer, right)

        async with together() as group:
            running = [group.create_task(one(example)) for example in examples]
    return [each.result() for each in running]


def accuracy(task: Task, outcomes: Sequence[Outcome]) -> tuple[Accuracy, ...]:
    """The task's metrics with their 95 % intervals; the first is the one that it is judged by.

    Raises ValueError where there are no outcomes.
    """
    return tuple(
        Accuracy(
            task=task.name,
            metric=metric.name,
            unit=metric.unit,
            better=metric.better,
            n=len(outcomes),
            test_sha256=task.test_sha256,
            harness=task.harness,
            contrast=contrast(task, outcomes) if metric is task.metrics[0] else None,
            **asdict(metric.measure(outcomes)),
        )
        for metric in task.metrics
    )


def contrast(task: Task, outcomes: Sequence[Outcome]) -> float | None:
    """The share of right answers minus the share that would be right by the label of another example, over `SHIFTS`
    others for each. None where that is not above 0, or there are too few outcomes."""
    if len(outcomes) <= SHIFTS:
        return None
    right = task.metrics[0].right
    others = [
        right(task.kind, each.answer, outcomes[(place + shift) % len(outcomes)].label)
        for place, each in enumerate(outcomes)
        for shift in range(1, SHIFTS + 1)
    ]
    difference = sum(each.correct for each in outcomes) / len(outcomes) - sum(others) / len(others)
    return round(difference, 6) if difference > 0 else None
