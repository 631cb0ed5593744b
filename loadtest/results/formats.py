"""Figures of a campaign as people read them: one place, so that the table and the report say the same."""

from collections.abc import Iterable

from loadtest.results.schema import AccuracyFigure, Quantiles
from variants.reports.formats import NOTHING, clock, number, points, seconds, share, size

__all__ = ["NOTHING", "accuracy", "clock", "examples", "number", "points", "quantile", "seconds", "share", "size"]


def accuracy(found: AccuracyFigure | None) -> str:
    """79.0 % (72.8–84.1), the interval in the same unit."""
    if found is None:
        return NOTHING
    return f"{share(found.value)} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def examples(found: Iterable[AccuracyFigure]) -> str:
    """`n 200`, or `n 198 to 200` where some were not answered."""
    counts = sorted({each.n for each in found})
    return f"n {counts[0]:,}" if len(counts) == 1 else f"n {counts[0]:,} to {counts[-1]:,}"


def quantile(found: Quantiles | None, name: str) -> str:
    return NOTHING if found is None else seconds(getattr(found, name))
