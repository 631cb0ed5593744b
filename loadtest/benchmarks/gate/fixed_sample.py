"""The number of pairs that a test with only one look needs. The gate, which may look at any time, is compared with it.

The test is McNemar's (Q. McNemar 1947) in its exact, one-sided form. Among the discordant pairs, the number in which
the variant is worse is binomial. Its probability is 1/2 without a difference, and (c + delta) / 2c at a difference of
-delta. The discordance c is taken as known.
"""

import numpy as np
from scipy.stats import binom

NEGLIGIBLE = 1e-9
MOST_PAIRS = 10_000_000


def pairs_to_roll_back(difference: float, discordance: float, delta: float, alpha: float, power: float = 0.8) -> int:
    """The fewest pairs with which the test of "not worse than -delta" rejects with `power` if d is `difference`.

    Raises ValueError if the difference is not below -delta, or the discordance is too small for it.
    """
    _check(difference < -delta, difference, discordance, delta)
    return _fewest(_worse(-delta, discordance), _worse(difference, discordance), discordance, alpha, power)


def pairs_to_promote(difference: float, discordance: float, delta: float, alpha: float, power: float = 0.8) -> int:
    """The fewest pairs with which the test of "not better than -delta" rejects with `power` if d is `difference`.

    Raises ValueError if the difference is not above -delta, or the discordance is too small for it.
    """
    _check(difference > -delta, difference, discordance, delta)
    better_null, better = 1 - _worse(-delta, discordance), 1 - _worse(difference, discordance)
    return _fewest(better_null, better, discordance, alpha, power)


def power_of(n: int, null: float, true: float, discordance: float, alpha: float) -> float:
    """The probability that the test rejects after `n` pairs. It is conditional on the discordant pairs, whose number is
    binomial."""
    discordant = np.arange(n + 1)
    weight = binom.pmf(discordant, n, discordance)
    discordant, weight = discordant[weight > NEGLIGIBLE], weight[weight > NEGLIGIBLE]
    most = binom.isf(alpha, discordant, null)
    # isf gives the smallest k with P(X > k) <= alpha, but rounding may make it one too small.
    most = np.where(binom.sf(most, discordant, null) <= alpha, most, most + 1)
    return float((weight * binom.sf(most, discordant, true)).sum())


def _fewest(null: float, true: float, discordance: float, alpha: float, power: float) -> int:
    high = 16
    while power_of(high, null, true, discordance, alpha) < power:
        high *= 2
        if high > MOST_PAIRS:
            raise ValueError(f"more than {MOST_PAIRS} pairs")
    # Power does not rise evenly with n, so a bisection could miss the smallest n: search upwards from below.
    n = high // 2
    step = max(1, n // 64)
    while power_of(n, null, true, discordance, alpha) < power:
        n += step
    n -= step
    while power_of(n, null, true, discordance, alpha) < power:
        n += 1
    return n


def _worse(difference: float, discordance: float) -> float:
    return (discordance - difference) / (2 * discordance)


def _check(right_side: bool, difference: float, discordance: float, delta: float) -> None:
    if not right_side:
        raise ValueError(f"difference {difference} is on the other side of -{delta}")
    if not max(abs(difference), delta) < discordance <= 1:
        raise ValueError(f"discordance {discordance}: need more than the difference and delta, at most 1")
