"""Whether clients are assigned in the shares that the weights say, tested after every one of them.

An experiment whose arms are not filled as planned is broken, whatever its outcomes say (A. Fabijan et al. 2019,
"Diagnosing sample ratio mismatch in online controlled experiments", KDD). M. Lindon and A. Malek 2022, "Anytime-valid
inference for multinomial count data", NeurIPS, test it after every assignment. Theirs is one vector of shares; here
weights move while the test goes on, so what is learned is by how much each variant gets more than its due: the next
assignment is bet on with the weights in force, each times (expected so far + PRIOR) / (due so far + PRIOR). That is
fixed before the assignment is seen, so wealth is a martingale under the null, and exceeds 1/alpha ever with
probability at most alpha.

    null    each distinct client's first assignment falls on a variant with its weight's share
    breaks  counting a client again after its first assignment; assignments that were pinned or fell back, which are
            not the router's choice
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, log

ALPHA = 0.001
PRIOR = 30.0
"""How many assignments' worth of trust each variant's share starts with: less finds gross faults a little sooner, more
finds small ones sooner."""


@dataclass
class SampleRatio:
    """First assignments by variant, those that were due, and the log wealth against the weights."""

    seen: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    log_wealth: float = 0.0
    peak: float = 0.0

    def add(self, assigned: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """Count assignments made under one set of weights. ValueError without a weight above 0."""
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

    def is_broken(self, alpha: float = ALPHA) -> bool:
        """Whether it was proven, at any time so far, that assignments do not follow the weights."""
        return self.peak >= log(1 / alpha)
