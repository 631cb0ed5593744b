"""One example's outcome: what was answered, and what it counts for."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What was answered to one example, and whether it is right."""

    example_id: str
    label: str
    answer: str
    correct: bool
