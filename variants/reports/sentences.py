"""Verdicts and warnings that all pages share."""

from typing import Literal

from variants.reports.formats import Interval


def verdict(difference: Interval, better: str = "higher") -> Literal["better", "worse"] | None:
    """The verdict on a variant's figure less its parent's; None where the interval includes 0."""
    if difference.low <= 0 <= difference.high:
        return None
    return "better" if (difference.low > 0) == (better == "higher") else "worse"


def misses(count: int) -> str:
    """How many of `count` 95 % intervals are expected to miss the true value."""
    return (
        f"Each interval misses the truth 1 time in 20 by itself, and there are {count} paired differences: "
        f"expect {count / 20:.1f} that do."
    )


def not_equal(undecided: str, n: int, task: str, worst: float, name: str = "") -> str:
    """States the loss that remains possible. `undecided` is the verdict in words, `worst` the lower end of the interval
    as a share, negative for a loss."""
    of = f" of {name}" if name else ""
    return (
        f"{undecided} is not equal: with {n:,} examples of {task} a loss of up to "
        f"{max(0.0, -100 * worst):.1f} points{of} is compatible with what was seen."
    )
