"""Tests after every assignment whether clients are assigned in the shares that the weights give.

An experiment whose groups are not filled as planned is invalid, whatever its outcomes (A. Fabijan et al. 2019,
"Diagnosing sample ratio mismatch in online controlled experiments", KDD). M. Lindon and A. Malek 2022, "Anytime-valid
inference for multinomial count data", NeurIPS, test it after every assignment, for one constant vector of shares.

Here weights change during the test. So the test learns how much more than its due each variant gets. It bets on the
next assignment with the current weights, each times (seen so far + PRIOR) / (due so far + PRIOR). The bet is fixed
before the assignment is seen. So wealth is a martingale under the null, and ever exceeds 1/alpha with probability at
most alpha.

    null    each distinct client's first assignment falls on a variant with its weight's share
    breaks  counting a client again after its first assignment; assignments that were pinned or fell back, which the
            router did not choose
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log

ALPHA = 0.001
PRIOR = 30.0
"""Pseudo-assignments to each variant at the start. A smaller value detects large faults a little earlier. A larger
value detects small faults earlier."""


@dataclass
class SampleRatio:
    """First assignments by variant (`seen`), those that the weights predict (`due`), and the log wealth."""

    seen: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    log_wealth: float = 0.0
    peak: float = 0.0

    def add(self, assigned: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """Count the assignments made under one set of weights. ValueError unless a weight is above 0."""
        total = sum(weights.values())
        if total <= 0:
            raise ValueError("no weight above 0")
        shares = {variant: weight / total for variant, weight in weights.items() if weight > 0}
        ratio = {v: (self.seen.get(v, 0) + PRIOR) / (self.due.get(v, 0.0) + PRIOR) for v in shares}
        whole = sum(share * ratio[variant] for variant, share in shares.items())
        for variant, times in assigned.items():
            if times:
                self.log_wealth += times * log(ratio[variant] / whole) if variant in shares else inf
                self.seen[variant] = self.seen.get(variant, 0) + times
        n = sum(assigned.values())
        for variant, share in shares.items():
            self.due[variant] = self.due.get(variant, 0.0) + n * share
        self.peak = max(self.peak, self.log_wealth)

    @property
    def n(self) -> int:
        return sum(self.seen.values())

    def is_broken(self) -> bool:
        """Whether it is proven, or was at any earlier time, that assignments do not follow the weights."""
        return self.peak >= log(1 / ALPHA)
