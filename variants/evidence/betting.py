"""Confidence bounds for the mean of a bounded outcome that stay valid however often one looks.

Testing by betting (I. Waudby-Smith and A. Ramdas 2024, "Estimating means of bounded random variables by betting",
J. R. Stat. Soc. B 86): whoever holds that the mean is at most m takes bets on outcomes y in [0, 1] that multiply a
stake by 1 - s + s y / m, fair if the mean is m, worse than fair if it is below. Wealth that starts at 1 and is bet so
exceeds 1/alpha at any time with probability at most alpha (Ville 1939), so when it does, "at most m" is rejected, and
no matter when one looked. The bound is the largest m that is rejected.

    null    each outcome's mean, given all before it, is at most (for the other side: at least) m
    breaks  outcomes left out because of what they are; the same outcome counted twice; a mean that drifts across m

Shares `s` are not chosen as outcomes come: wealth is split once among fixed shares (`SHARES`), which costs a constant
and makes wealth depend on how often each value was seen and on nothing else. So evidence is a tally: it can be stored,
merged from several servers, and bet on again for any other m. No library keeps it so (confseq bets anew on the whole
sequence for every m at every look), which is why this one is ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARES: Floats = np.array([0.01, 0.025, 0.06, 0.12, 0.22, 0.35, 0.5, 0.68, 0.87])
"""Shares of the stake that are bet. The best one for a mean d off m and a variance v is about d / v: small ones find
small differences in the end, large ones find large differences soon."""
PRIOR: Floats = np.array([0.02, 0.03, 0.06, 0.12, 0.2, 0.22, 0.18, 0.12, 0.05])
"""How wealth is split among them at the start; sums to 1."""


@dataclass
class Tally:
    """How often each value of an outcome in [low, high] was seen.

    Outcomes on a continuum are rounded by whoever adds them (three digits are plenty): the rounded value is the
    outcome.
    """

    low: float
    high: float
    counts: dict[float, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"bounds {self.low} and {self.high}: need low < high")

    def add(self, value: float, times: int = 1) -> None:
        """ValueError for a value out of bounds or a number of times below 0."""
        if not self.low <= value <= self.high or times < 0:
            raise ValueError(f"{times} times {value}: need values from {self.low} to {self.high}, times from 0")
        self.counts[value] = self.counts.get(value, 0) + times

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """ValueError while it is empty."""
        if not self.n:
            raise ValueError("no outcome yet")
        return sum(value * times for value, times in self.counts.items()) / self.n

    def mirrored(self) -> "Tally":
        """Every outcome's negative."""
        return Tally(-self.high, -self.low, {-value: times for value, times in self.counts.items()})


def log_wealth(values: Floats, counts: NDArray[np.number], mean: float) -> Floats:
    """What is left of 1 after betting that the mean is above `mean`, as a natural logarithm.

    `values` (k,) are outcomes in [0, 1] and `counts` (..., k) how often each was seen; `mean` in (0, 1). Gives (...).
    Falls as `mean` rises, since every factor does.
    """
    gains = np.log1p(SHARES * (values[:, None] / mean - 1))
    each: Floats = np.asarray(counts, dtype=np.float64) @ gains
    each += np.log(PRIOR)
    top = each.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(each - top).sum(axis=-1)) + top[..., 0]
    return total


def evidence_above(tally: Tally, mean: float) -> float:
    """log wealth against "the mean is at most `mean`". ValueError for a mean out of bounds."""
    if not tally.low <= mean < tally.high:
        raise ValueError(f"mean {mean}: need at least {tally.low} and below {tally.high}")
    if mean == tally.low:  # any outcome above the lowest value settles it
        return float("inf") if any(times and value > mean for value, times in tally.counts.items()) else 0.0
    return _log_wealth(tally, mean)


def evidence_below(tally: Tally, mean: float) -> float:
    """log wealth against "the mean is at least `mean`". ValueError for a mean out of bounds."""
    return evidence_above(tally.mirrored(), -mean)


def is_above(tally: Tally, mean: float, alpha: float) -> bool:
    """Whether it is proven that the mean is above `mean`; wrong with probability at most `alpha` over all looks."""
    return evidence_above(tally, mean) >= log(1 / alpha)


def is_below(tally: Tally, mean: float, alpha: float) -> bool:
    """Whether it is proven that the mean is below `mean`; wrong with probability at most `alpha` over all looks."""
    return evidence_below(tally, mean) >= log(1 / alpha)


def lower_bound(tally: Tally, alpha: float) -> float:
    """The largest mean that the outcomes reject from below: with probability 1 - `alpha` the true one is never under
    it, whenever one looks. `tally.low` while there are none."""
    _check_alpha(alpha)
    if not tally.n or tally.mean == tally.low:
        return tally.low
    rejected, kept = tally.low, tally.mean
    while kept - rejected > 1e-9 * (tally.high - tally.low):
        middle = (rejected + kept) / 2
        if _log_wealth(tally, middle) >= log(1 / alpha):
            rejected = middle
        else:
            kept = middle
    return rejected


def upper_bound(tally: Tally, alpha: float) -> float:
    """The smallest mean that the outcomes reject from above; `tally.high` while there are none."""
    return -lower_bound(tally.mirrored(), alpha)


def _log_wealth(tally: Tally, mean: float) -> float:
    scaled: Mapping[float, int] = {(v - tally.low) / (tally.high - tally.low): n for v, n in tally.counts.items()}
    values, counts = np.array(list(scaled), dtype=np.float64), np.array(list(scaled.values()), dtype=np.float64)
    if not len(values):
        return 0.0
    return float(log_wealth(values, counts, (mean - tally.low) / (tally.high - tally.low)))


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: need a number between 0 and 1")
