"""Intervals for shares, and for differences of shares measured on the same examples.

Both are score intervals: they keep their level with few examples and near 0 and 1. Value +- 1.96 standard errors does
not. The interval of one share is E. B. Wilson's, 1927. That of a paired difference is method 10 of R. G. Newcombe 1998,
"Improved confidence intervals for the difference between binomial proportions based on paired data". Each is valid for
one look at a fixed number of examples. Repeated looks need a confidence sequence (`betting`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt


@dataclass(frozen=True)
class Interval:
    """`low` <= `value` <= `high`."""

    value: float
    low: float
    high: float


def wilson(right: int, n: int) -> Interval:
    """The share `right` / `n` with Wilson's 95 % score interval. ValueError unless 0 <= right <= n and n > 0."""
    if n <= 0 or not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}: need 0 <= right <= n and n > 0")
    from scipy.stats import binomtest

    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return Interval(right / n, float(interval.low), float(interval.high))


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> Interval:
    """How much larger the share of True is in `first` than in `second`, with the 95 % interval.

    Position i of both is the same example. ValueError when the lengths differ or are zero.
    """
    if len(first) != len(second) or not first:
        raise ValueError(f"{len(first)} and {len(second)} outcomes: need the same examples, and at least one")
    n = len(first)
    both = sum(a and b for a, b in zip(first, second, strict=True))
    one, other = wilson(sum(first), n), wilson(sum(second), n)
    phi = _correlation(both, sum(first) - both, sum(second) - both, n)
    difference = one.value - other.value
    return Interval(
        difference,
        difference - _reach(one.value - one.low, other.high - other.value, phi),
        difference + _reach(one.high - one.value, other.value - other.low, phi),
    )


def _reach(a: float, b: float, phi: float) -> float:
    """The root of the summed squares of two errors, less twice their covariance."""
    return sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def _correlation(both: int, only_first: int, only_second: int, n: int) -> float:
    """The phi coefficient of the paired table, with Newcombe's continuity correction where it is positive. 0 when a
    margin is empty."""
    neither = n - both - only_first - only_second
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    product: float = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0.0)
    return product / sqrt(margins)
