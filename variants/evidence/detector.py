"""Detects that the mean of a bounded outcome is above a limit from some moment on, however long it was below before.

Testing by betting (`variants.evidence.betting`) asks for the mean of all outcomes. After a million good outcomes it
takes thousands of bad ones to show harm. This detector bets anew from every `APART`-th outcome on. Its wealth is the
sum over all beginnings k = 1, 2, ... of the wealth of the k-th bet, with the weight 1 / (k (k + 1)). The weights sum to
1, so the sum is a mixture of fair bets: while each outcome's mean, given all before it, is at most the limit, it
ever exceeds 1/alpha with probability at most alpha (Ville 1939). This is the e-detector of J. Shin, A. Ramdas and A.
Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change detection", in the form that bounds the
probability of ever raising a false alarm.

    null    each outcome's mean, given all before it, is at most the limit that was given with it
    breaks  outcomes left out because of their value

The price: harm that begins at the k-th beginning needs 2 log(k) more log wealth. So the detector starts with nothing
at every step of a rollout.
"""

from dataclasses import dataclass, field
from math import inf, log

import numpy as np
from numpy.typing import NDArray

from variants.evidence.betting import PRIOR, SHARES, Floats

APART = 20
LOG_PRIOR: Floats = np.log(PRIOR)


@dataclass
class Detector:
    """Wealth by share, for `n` outcomes in [0, 1]. `logs` are natural logarithms; `peak` is the largest total so
    far."""

    n: int = 0
    logs: list[float] = field(default_factory=lambda: [-inf] * len(SHARES))
    peak: float = -inf

    def add(self, value: float, limit: float) -> None:
        """Count an outcome in [0, 1] whose mean should be at most `limit`, in (0, 1). The limit may differ from outcome
        to outcome, and is fixed before the outcome is seen. ValueError for a value or a limit out of bounds."""
        if not 0 <= value <= 1 or not 0 < limit < 1:
            raise ValueError(f"{value} with the limit {limit}: need 0 to 1, and a limit between")
        self.n += 1
        logs = advance(np.array(self.logs), self.n, np.float64(value), np.float64(limit))
        self.logs, self.peak = logs.tolist(), max(self.peak, float(total(logs)))

    def has_raised(self, alpha: float) -> bool:
        """Whether harm was detected, now or earlier; wrong with probability at most `alpha` over all outcomes."""
        return self.peak >= log(1 / alpha)


def advance(logs: Floats, n: int, values: Floats | np.float64, limits: Floats | np.float64) -> Floats:
    """The log wealth by share after outcome number `n` (from 1). `logs` (..., k), `values` and `limits` (...)."""
    gains = np.log1p(SHARES * (np.asarray(values / limits)[..., None] - 1))
    if n % APART == 1:
        k = n // APART + 1
        logs = np.logaddexp(logs, -log(k) - log(k + 1))
    following: Floats = logs + gains
    return following


def total(logs: Floats) -> NDArray[np.float64]:
    """The log wealth over all shares, of shape (...)."""
    whole: NDArray[np.float64] = np.logaddexp.reduce(logs + LOG_PRIOR, axis=-1)
    return whole
