"""Confidence bounds for the mean of a bounded outcome that stay valid however often one looks.

Testing by betting (I. Waudby-Smith and A. Ramdas 2024, "Estimating means of bounded random variables by betting",
J. R. Stat. Soc. B 86). The hypothesis is that the mean is at most m. A bet on an outcome y in [0, 1] multiplies a
stake by 1 - s + s y / m. It is fair if the mean is m, and worse than fair if the mean is below m. Under the hypothesis,
wealth that starts at 1 ever exceeds 1/alpha with probability at most alpha (Ville 1939). So when wealth exceeds it, "at
most m" is rejected, whenever one looks. The bound is the largest m that is rejected.

    null    the average of the outcomes' means, each given all outcomes before it, is at most (for the other side: at
            least) m, at every moment
    breaks  outcomes left out because of their value; the same outcome counted twice

The shares `s` do not depend on outcomes: wealth is split once among fixed shares (`Bets`), which costs a constant
factor. So wealth depends only on how often each value was seen. Evidence is therefore a tally. It can be stored, merged
from several servers, and tested again for any other m. Fixed shares also make the null as wide as stated: the product
of 1 + s (mean_i - m) is at most 1 where the average of the means is at most m (inequality of arithmetic and geometric
means). Shares that adapt to outcomes lose that. No library offers this: confseq computes the whole sequence again for
every m at every look.

What is known before the first outcome may choose shares: `Bets.near` puts half of the wealth near the share that is
best for an expected distribution (J. L. Kelly 1956). A wrong expectation costs at most log 2 of log wealth.
"""

from dataclasses import dataclass, field
from math import log

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHARES: Floats = np.array([0.0003, 0.001, 0.003, 0.01, 0.025, 0.06, 0.12, 0.22, 0.35, 0.5, 0.68, 0.85, 0.97])
"""Shares of the stake that are bet. For a mean that differs from m by d, with variance v, the best one is about d / v.
Small shares detect small differences late, large ones detect large differences early. The smallest share bounds how
narrow an interval can become."""
_WEIGHTS: Floats = np.array([0.003, 0.004, 0.008, 0.015, 0.03, 0.06, 0.13, 0.2, 0.19, 0.14, 0.1, 0.07, 0.05])
PRIOR: Floats = _WEIGHTS / _WEIGHTS.sum()
"""How wealth is split among the shares at the start. Sums to 1."""
LARGEST = 0.985


@dataclass(frozen=True)
class Bets:
    """Shares of the stake, in (0, 1), and how wealth is split among them at the start; both of shape (k,)."""

    shares: Floats = field(default_factory=lambda: SHARES)
    prior: Floats = field(default_factory=lambda: PRIOR)

    @classmethod
    def near(cls, values: Floats, probabilities: Floats, mean: float) -> "Bets":
        """Half of the wealth on `SHARES`, half on three shares around the best one against `mean`, where outcomes take
        `values` (k,) in [0, 1] with `probabilities` (k,)."""
        grid = np.linspace(0.001, LARGEST, 985)
        growth = np.log1p(grid[:, None] * (values / mean - 1)) @ probabilities
        best = grid[int(growth.argmax())]
        shares = np.concatenate([SHARES, np.clip(best * np.array([0.7, 1.0, 1.35]), 1e-4, LARGEST)])
        return cls(shares, np.concatenate([PRIOR / 2, [0.15, 0.2, 0.15]]))


DEFAULT = Bets()


@dataclass
class Tally:
    """How often each value of an outcome in [low, high] was seen.

    The caller rounds continuous outcomes, for instance to three digits. The rounded value counts as the outcome.
    ValueError unless low < high.
    """

    low: float
    high: float
    counts: dict[float, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"bounds {self.low} and {self.high}: need low < high")

    def add(self, value: float, times: int = 1) -> None:
        """Count `value` so many times. ValueError for a value out of bounds or a negative number of times."""
        if not self.low <= value <= self.high or times < 0:
            raise ValueError(f"{times} times {value}: need values from {self.low} to {self.high}, times from 0")
        self.counts[value] = self.counts.get(value, 0) + times

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def with_more(self, value: float, times: int) -> "Tally":
        """A tally that also has `value` so many times."""
        more = Tally(self.low, self.high, dict(self.counts))
        more.add(value, times)
        return more

    @property
    def mean(self) -> float:
        """The mean of all outcomes. ValueError while there are none."""
        if not self.n:
            raise ValueError("no outcome yet")
        return sum(value * times for value, times in self.counts.items()) / self.n

    def mirrored(self) -> "Tally":
        """The tally of the negated outcomes."""
        return Tally(-self.high, -self.low, {-value: times for value, times in self.counts.items()})


def log_wealth(values: Floats, counts: NDArray[np.number], mean: float, bets: Bets = DEFAULT) -> Floats:
    """The natural logarithm of the wealth after bets that the mean is above `mean`, from a wealth of 1.

    `values` (k,) are outcomes in [0, 1], `counts` (..., k) how often each was seen, `mean` is in (0, 1). Gives (...).
    Falls as `mean` rises, since every factor does.
    """
    gains = np.log1p(bets.shares * (values[:, None] / mean - 1))
    each: Floats = np.asarray(counts, dtype=np.float64) @ gains
    each += np.log(bets.prior)
    top = each.max(axis=-1, keepdims=True)
    total: Floats = np.log(np.exp(each - top).sum(axis=-1)) + top[..., 0]
    return total


def evidence_above(tally: Tally, mean: float, bets: Bets = DEFAULT, times: float = 1.0) -> float:
    """The log wealth against "the mean is at most `mean`", as if each outcome had been seen `times` times.

    ValueError for a mean out of bounds."""
    if not tally.low <= mean < tally.high:
        raise ValueError(f"mean {mean}: need at least {tally.low} and below {tally.high}")
    if mean == tally.low:  # one outcome above the lowest value decides it
        return float("inf") if any(times and value > mean for value, times in tally.counts.items()) else 0.0
    return _log_wealth(tally, mean, bets, times)


def evidence_below(tally: Tally, mean: float, bets: Bets = DEFAULT, times: float = 1.0) -> float:
    """The log wealth against "the mean is at least `mean`". ValueError for a mean out of bounds."""
    return evidence_above(tally.mirrored(), -mean, bets, times)


def is_above(tally: Tally, mean: float, alpha: float, bets: Bets = DEFAULT) -> bool:
    """Whether the mean is proven to be above `mean`; wrong with probability at most `alpha` over all looks."""
    return evidence_above(tally, mean, bets) >= log(1 / alpha)


def is_below(tally: Tally, mean: float, alpha: float, bets: Bets = DEFAULT) -> bool:
    """Whether the mean is proven to be below `mean`; wrong with probability at most `alpha` over all looks."""
    return evidence_below(tally, mean, bets) >= log(1 / alpha)


def lower_bound(tally: Tally, alpha: float, bets: Bets = DEFAULT) -> float:
    """The largest mean that the outcomes reject from below; `tally.low` while there are no outcomes.

    With probability at least 1 - `alpha`, the true mean is never below it, whenever one looks. ValueError unless
    0 < alpha < 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: need a number between 0 and 1")
    if not tally.n or tally.mean == tally.low:
        return tally.low
    (values, counts), width = _scaled(tally), tally.high - tally.low
    rejected, kept = tally.low, tally.mean
    while kept - rejected > 1e-9 * width:
        middle = (rejected + kept) / 2
        if log_wealth(values, counts, (middle - tally.low) / width, bets) >= log(1 / alpha):
            rejected = middle
        else:
            kept = middle
    return rejected


def upper_bound(tally: Tally, alpha: float, bets: Bets = DEFAULT) -> float:
    """The smallest mean that the outcomes reject from above; `tally.high` while there are no outcomes."""
    return -lower_bound(tally.mirrored(), alpha, bets)


def outcomes_to_go(tally: Tally, limit: float, alpha: float, bets: Bets = DEFAULT) -> int | None:
    """How many more outcomes like those so far would show on which side of `limit` the mean is; None where 100 times as
    many would not. ValueError while there are none."""
    against = evidence_above if tally.mean > limit else evidence_below
    needed = log(1 / alpha)
    low, high = 1.0, 100.0

    def decided(times: float) -> bool:
        return against(tally, limit, bets, times) >= needed

    if not decided(high):
        return None
    while high - low > 0.01 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if decided(middle) else (middle, high)
    return max(1, round(tally.n * (high - 1)))


def _log_wealth(tally: Tally, mean: float, bets: Bets, times: float = 1.0) -> float:
    if not tally.counts:
        return 0.0
    values, counts = _scaled(tally)
    return float(log_wealth(values, counts * times, (mean - tally.low) / (tally.high - tally.low), bets))


def _scaled(tally: Tally) -> tuple[Floats, Floats]:
    """Values in [0, 1], and how often each was seen."""
    values, counts = np.array(list(tally.counts.items()), dtype=np.float64).T
    return (values - tally.low) / (tally.high - tally.low), counts
