"""Simulates the gate on pairs with a known true difference: how often it is wrong, and how soon it decides.

Pairs are drawn at random instead of served: d is -1, 0 or 1 with a given mean and discordance. They are judged by the
code that judges live traffic (`betting.log_wealth` at the gate's own alpha, `SampleRatio`), after every pair from the
30th on.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from variants.evidence.betting import DEFAULT, Bets, log_wealth
from variants.evidence.gate import Gate
from variants.evidence.sample_ratio import SampleRatio

FIRST_LOOK = 30
TOGETHER = 25
"""The number of runs in a block: it fits a processor's cache and a few hundred MB."""
D: NDArray[np.float64] = np.array([0.0, 0.5, 1.0])
"""The values -1, 0 and 1 of d, scaled to [0, 1]."""

Bools = NDArray[np.bool_]
Counts = NDArray[np.int32]
Tick = Callable[[int, int], None]
"""Is called with the number of runs done and the number of all runs."""


@dataclass(frozen=True)
class Truth:
    """The true mean of d, and the share of pairs with d other than 0."""

    difference: float
    discordance: float

    @property
    def probabilities(self) -> tuple[float, float, float]:
        """The probabilities of d = -1, 0 and 1."""
        worse, better = (self.discordance - self.difference) / 2, (self.discordance + self.difference) / 2
        return worse, 1 - self.discordance, better


def tallies(truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> Iterator[Counts]:
    """Blocks of runs: how often each value of d has come after every pair, of shape (runs, pairs, 3)."""
    for first in range(0, runs, TOGETHER):
        random = np.random.default_rng([seed, first])
        drawn = random.random((min(TOGETHER, runs - first), pairs))
        worse, same, _ = truth.probabilities
        value = (drawn >= worse).astype(np.int8) + (drawn >= worse + same)
        yield np.stack([np.cumsum(value == k, axis=1, dtype=np.int32) for k in range(3)], axis=-1)
        tick(min(first + TOGETHER, runs), runs)


def above(counts: Counts, mean: float, alpha: float, bets: Bets = DEFAULT) -> Bools:
    """After which pairs the mean of d is proven to be above `mean`."""
    return log_wealth(D, counts, (mean + 1) / 2, bets) >= log(1 / alpha)


def below(counts: Counts, mean: float, alpha: float, bets: Bets = DEFAULT) -> Bools:
    return log_wealth(1 - D, counts, (1 - mean) / 2, bets) >= log(1 / alpha)


def z_test(counts: Counts, alpha: float) -> Bools:
    """After which pairs a z-test of "the mean of d is 0" would reject if it were the only look."""
    better, worse = counts[..., 2], counts[..., 0]
    discordant = np.maximum(better + worse, 1)
    return np.asarray(np.abs(better - worse) >= norm.isf(alpha / 2) * np.sqrt(discordant)) & (better + worse > 0)


def first(raised: Bools) -> Counts:
    """The number of pairs after which each run first raises the alarm; one more than all pairs if it never does."""
    looked = raised[:, FIRST_LOOK - 1 :]
    return np.where(looked.any(axis=1), looked.argmax(axis=1) + FIRST_LOOK, raised.shape[1] + 1).astype(np.int32)


def different(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> dict[str, int]:
    """The number of runs that ever raise *different*, and of those in which a z-test after every pair ever rejects."""
    alarms = {"different": 0, "z_test": 0}
    alpha = gate.alpha_each
    for counts in tallies(truth, runs, pairs, seed, tick):
        raised = above(counts, 0.0, alpha / 2) | below(counts, 0.0, alpha / 2)
        alarms["different"] += int((first(raised) <= pairs).sum())
        alarms["z_test"] += int((first(z_test(counts, alpha)) <= pairs).sum())
    return alarms


def roll_backs(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick, bets: Bets = DEFAULT) -> Counts:
    """The number of pairs after which each run proves the mean of d below -delta, of shape (runs,); `pairs` + 1 if it
    never does."""
    blocks = tallies(truth, runs, pairs, seed, tick)
    return np.concatenate([first(below(counts, gate.limit("quality"), gate.alpha_each, bets)) for counts in blocks])


def promotions(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> Counts:
    """The number of pairs after which each run has proven the mean of d to be above -delta, of shape (runs,)."""
    blocks = tallies(truth, runs, pairs, seed, tick)
    return np.concatenate([first(above(counts, gate.limit("quality"), gate.alpha)) for counts in blocks])


def skew_after(choose: Callable[[str], str], weights: dict[str, float], clients: Iterator[str], most: int) -> int:
    """The number of requests after which the sample-ratio test shows that `choose` does not follow `weights`. It is
    `most` + 1 if the test never does. Only the first request of a client counts."""
    test, known = SampleRatio(), set()
    for number, client in enumerate(islice(clients, most), 1):
        if client not in known:
            known.add(client)
            test.add({choose(client): 1}, weights)
            if test.is_broken():
                return number
    return most + 1
