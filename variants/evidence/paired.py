"""The outcomes of one paired metric: the values of a variant and of its parent on the same requests.

Two means are kept. *By request* counts every compared request, as clients sent them. *Distinct* counts a request once,
however often it came. The first says what the traffic loses, the second is not fooled by one request that is sent
again and again. A request that was sampled and came to nothing is *lost*: it counts at worst, -1 where the gate is to
pass and +1 where harm is to be proven (C. F. Manski 1990 calls these the worst-case bounds).

The *contrast* of a labelled request is the parent's score minus its score by the label of another request. Where its
mean is above 0, labels tell right from wrong. Where a share q of labels is junk, both d and the contrast shrink by 1 -
q. So the margin is also held relative to the contrast: d + delta * contrast / contrast on the card is above 0.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from variants.evidence.betting import Bets, Tally
from variants.evidence.detector import Detector

Values = tuple[float, float]
"""The variant's and its parent's value, in [0, 1]."""
LEAST_DISCORDANCE = 0.002
HARM = 2.5
"""Bets on harm expect so many times the loss that is allowed."""


@dataclass
class Paired:
    """Counts of values by request, distinct, and of each client's first request; of (d, contrast); and of d by
    segment ("language=de").

    d is kept to 3 digits, the parent's value and the contrast to 2. So the number of counts is bounded for scores of
    any fineness, and a verdict costs no more after a million outcomes than after ten thousand."""

    by_request: Counter[Values] = field(default_factory=Counter)
    distinct: Counter[Values] = field(default_factory=Counter)
    firsts: Counter[Values] = field(default_factory=Counter)
    contrasts: Counter[Values] = field(default_factory=Counter)
    segments: dict[str, Counter[float]] = field(default_factory=dict)
    lost: int = 0
    harm: Detector = field(default_factory=Detector)

    def add(self, values: Values, repeated: bool, delta: float | None, segments: dict[str, str],
            shuffled: float | None = None, new_client: bool = True) -> None:  # fmt: skip
        """Count a compared request. `shuffled` is the parent's score by another request's label. `new_client`: its
        client sent none before, or has no name."""
        d, parent = round(values[0] - values[1], 3), round(values[1], 2)
        kept = round(parent + d, 3), parent
        self.by_request[kept] += 1
        self.firsts[kept] += new_client
        if not repeated:
            self.distinct[kept] += 1
        if shuffled is not None:
            self.contrasts[d, round(values[1] - shuffled, 2)] += 1
        for name, value in segments.items():
            self.segments.setdefault(f"{name}={value}", Counter())[d] += 1
        if delta is not None:
            self.harm.add((1 - d) / 2, min(0.999, (1 + delta) / 2))

    @property
    def n(self) -> int:
        return self.by_request.total()

    def differences(self, distinct: bool = False, factor: float = 1.0) -> Tally:
        """The tally of the variant's value minus `factor` times its parent's, without the lost requests."""
        return _weighted(self.distinct if distinct else self.by_request, 1.0, -factor, 1.0)

    def first_of_clients(self, factor: float) -> Tally:
        """The tally of each client's first request, without the lost ones."""
        return _weighted(self.firsts, 1.0, -factor, 1.0)

    def contrast(self) -> Tally:
        return _weighted(self.contrasts, 0.0, 1.0, 1.0)

    def relative(self, delta: float, on_card: float) -> Tally:
        """The tally of d + `delta` * contrast / `on_card`, lost requests at its least. `on_card` is in (0, 1]."""
        scale = delta / on_card
        tally = _weighted(self.contrasts, 1.0, scale, 1.0 + scale)
        if self.lost:  # a variant loses all of what its parent has, or neither has anything and another's label fits
            tally.add(-max(1.0, scale), self.lost)
        return tally


def bets_on(difference: float, discordance: float, limit: float) -> Bets:
    """Bets that the mean of d is above `limit`. Its expected mean is `difference`; d is -1 or 1 in a share
    `discordance` of the pairs, else 0."""
    discordance = min(1.0, max(LEAST_DISCORDANCE, discordance, abs(difference)))
    worse, better = (discordance - difference) / 2, (discordance + difference) / 2
    return Bets.near(np.array([0.0, 0.5, 1.0]), np.array([worse, 1 - discordance, better]), (1 + limit) / 2)


def bets_on_harm(discordance: float, delta: float) -> Bets:
    """Bets that the mean of d is below -`delta`: that of -d is above `delta`."""
    return bets_on(min(1.0, HARM * delta), discordance, delta)


def _weighted(counts: Counter[Values], first: float, second: float, bound: float) -> Tally:
    """The tally of `first` times the first value plus `second` times the second, to 4 digits, within `bound` of 0."""
    if not counts:
        return Tally(-bound, bound)
    values = np.array(list(counts)) @ (first, second)
    kept, place = np.unique(np.clip(np.round(values, 4), -bound, bound), return_inverse=True)
    times = np.zeros(len(kept), np.int64)
    np.add.at(times, place, list(counts.values()))
    return Tally(-bound, bound, dict(zip((kept + 0.0).tolist(), times.tolist(), strict=True)))
