"""Detects that the mean of a bounded outcome is above a limit from some moment on, however long it was below before.

Testing by betting (`variants.evidence.betting`) asks for the mean of all outcomes. After a million good outcomes it
takes thousands of bad ones to show harm. This detector bets anew from every outcome on. Its wealth is the sum over all
beginnings k = 1, 2, ... of the wealth of a bet that begins at k, with the weight 1 / (k (k + 1)) of k. The weights sum
to 1, so the sum is a mixture of fair bets: while each outcome's mean, given all before it, is at most the limit, it
ever exceeds 1/alpha with probability at most alpha (Ville 1939). This is the e-detector of J. Shin, A. Ramdas and A.
Rinaldo 2024, "E-detectors: a nonparametric framework for sequential change detection", in the form that bounds the
probability of ever raising a false alarm.

    null    each outcome's mean, given all before it, is at most the limit that was given with it
    breaks  outcomes left out because of their value

The price: harm that begins at outcome k needs 2 log(k) more log wealth. So the detector begins anew with every step of
a rollout.
"""

from dataclasses import dataclass, field
from math import exp, inf, log, log1p

from variants.evidence.betting import PRIOR, SHARES


@dataclass
class Detector:
    """Wealth by share, for outcomes in [0, 1]. `logs` are natural logarithms; `peak` is the largest total so far."""

    n: int = 0
    logs: list[float] = field(default_factory=lambda: [-inf] * len(SHARES))
    peak: float = -inf

    def add(self, value: float, limit: float) -> None:
        """Count an outcome in [0, 1] whose mean should be at most `limit`, in (0, 1). The limit may differ from outcome
        to outcome, and is fixed before the outcome is seen. ValueError for a value or a limit out of bounds."""
        if not 0 <= value <= 1 or not 0 < limit < 1:
            raise ValueError(f"{value} with the limit {limit}: need 0 to 1, and a limit between")
        self.n += 1
        begins = -log(self.n) - log(self.n + 1)
        self.logs = [
            _sum(kept, begins) + log1p(share * (value / limit - 1))
            for kept, share in zip(self.logs, SHARES.tolist(), strict=True)
        ]
        whole = -inf
        for kept, part in zip(self.logs, PRIOR.tolist(), strict=True):
            whole = _sum(whole, kept + log(part))
        self.peak = max(self.peak, whole)

    def has_raised(self, alpha: float) -> bool:
        """Whether harm was detected, now or earlier; wrong with probability at most `alpha` over all outcomes."""
        return self.peak >= log(1 / alpha)


def _sum(one: float, other: float) -> float:
    """log(exp(one) + exp(other))."""
    high, low = max(one, other), min(one, other)
    return high if low == -inf else high + log1p(exp(low - high))
