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

import numpy as np

from variants.evidence.betting import PRIOR, SHARES, Floats

APART = 20
MOST = 1e100
"""Wealth is counted no further: it decides no more, and would overflow."""
_SHARES: list[float] = SHARES.tolist()
_PRIOR: list[float] = PRIOR.tolist()


@dataclass
class Detector:
    """Wealth by share, for `n` outcomes in [0, 1]. `peak` is the largest total so far, at most `MOST`."""

    n: int = 0
    wealth: list[float] = field(default_factory=lambda: [0.0] * len(SHARES))
    peak: float = 0.0

    def add(self, value: float, limit: float) -> None:
        """Count an outcome in [0, 1] whose mean should be at most `limit`, in (0, 1). The limit may differ from outcome
        to outcome, and is fixed before the outcome is seen. ValueError for a value or a limit out of bounds."""
        if not 0 <= value <= 1 or not 0 < limit < 1:
            raise ValueError(f"{value} with the limit {limit}: need 0 to 1, and a limit between")
        self.n += 1
        if self.peak >= MOST:
            return
        begun, gain = weight(self.n), value / limit - 1
        self.wealth = [
            (kept + part * begun) * (1 + share * gain)
            for kept, share, part in zip(self.wealth, _SHARES, _PRIOR, strict=True)
        ]
        self.peak = max(self.peak, min(MOST, sum(self.wealth)))

    def has_raised(self, alpha: float) -> bool:
        """Whether harm was detected, now or earlier; wrong with probability at most `alpha` over all outcomes."""
        return self.peak >= 1 / alpha


def weight(n: int) -> float:
    """The weight of a bet that begins at outcome number `n` (from 1)."""
    beginning, rest = divmod(n - 1, APART)
    return 0.0 if rest else 1 / ((beginning + 1) * (beginning + 2))


def advance(wealth: Floats, n: int, values: Floats, limits: Floats) -> Floats:
    """`Detector.add` for many detectors at once: the wealth after outcome number `n`. `wealth` (runs, shares), `values`
    and `limits` (runs,)."""
    gains = 1 + SHARES * (values / limits - 1)[:, None]
    following: Floats = np.minimum((wealth + PRIOR * weight(n)) * gains, MOST)
    return following
