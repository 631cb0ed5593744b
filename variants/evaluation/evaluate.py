"""Evaluation: an artifact on a task, one outcome an example, through any `predict`.

This knows no engine and no HTTP. `predict` is handed in; it asks whatever serves the artifact, as a client would, and
is scored by the same pure scorers as live requests are. A failing `predict` ends the evaluation: an example that was
not answered is not a wrong answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from variants.artifacts.card import Accuracy
from variants.concurrency import together
from variants.metrics.outcome import Outcome
from variants.progress import NoProgress, Progress
from variants.tasks import Example, Task

Predict = Callable[[Example], Awaitable[str]]


async def evaluate(
    task: Task,
    examples: Sequence[Example],
    predict: Predict,
    concurrency: int = 8,
    progress: Progress | None = None,
) -> list[Outcome]:
    """One outcome for each example, in their order, with at most `concurrency` questions open at once.

    ValueError when an example occurs twice: repeats are not data. What `predict` raises comes through, and the
    questions that are still open are cancelled.
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
    """The task's metrics with their 95 % intervals, the one it is judged by first. ValueError when there are no
    outcomes."""
    figures = []
    for metric in task.metrics:
        interval = metric.measure(outcomes)
        figures.append(
            Accuracy(
                task=task.name,
                metric=metric.name,
                unit=metric.unit,
                better=metric.better,
                value=interval.value,
                low=interval.low,
                high=interval.high,
                n=len(outcomes),
                test_sha256=task.test_sha256,
            )
        )
    return tuple(figures)
