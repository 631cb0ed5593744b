"""The outcome of one example: its answer and whether that is right."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """The answer to one example, its label, and whether the metric counts the answer as right. `value` is what the
    metric gives the answer where that is a number of its own, else None."""

    example_id: str
    label: str
    answer: str
    correct: bool
    value: float | None = None
