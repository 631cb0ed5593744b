"""What the gate does on traffic whose truth is known: how often it is wrong, and how soon it is right.

Pairs are drawn, not served: d is -1, 0 or 1 with a given mean and discordance. What is judged with is what judges live
traffic (`betting.log_wealth` at the gate's own alpha, `SampleRatio`), looked at after every pair from the 30th.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from variants.evidence.betting import log_wealth
from variants.evidence.gate import Gate
from variants.evidence.sample_ratio import SampleRatio

FIRST_LOOK = 30
TOGETHER = 25
"""Runs simulated at once: what fits a processor's cache and a few hundred MB."""
D: NDArray[np.float64] = np.array([0.0, 0.5, 1.0])
"""d = -1, 0, 1 as outcomes in [0, 1]."""
PAIRS_A_SECOND = 10
FAILED, WITHIN = 0.001, 0.99
"""A healthy variant: the share of its requests that fail, and that are within the objective."""

Bools = NDArray[np.bool_]
Counts = NDArray[np.int32]
Tick = Callable[[int, int], None]
"""Told how many of how many runs are done."""


@dataclass(frozen=True)
class Truth:
    """The mean of d, and the share of pairs in which the two differ."""

    difference: float
    discordance: float

    @property
    def probabilities(self) -> tuple[float, float, float]:
        """Of d = -1, 0 and 1."""
        worse, better = (self.discordance - self.difference) / 2, (self.discordance + self.difference) / 2
        return worse, 1 - self.discordance, better


def tallies(truth: Truth, runs: int, pairs: int, seed: int) -> Iterator[Counts]:
    """Blocks of runs: how often each value of d was seen after every pair (runs, pairs, 3)."""
    for first in range(0, runs, TOGETHER):
        random = np.random.default_rng([seed, first])
        drawn = random.random((min(TOGETHER, runs - first), pairs))
        worse, same, _ = truth.probabilities
        value = (drawn >= worse).astype(np.int8) + (drawn >= worse + same)
        yield np.stack([np.cumsum(value == k, axis=1, dtype=np.int32) for k in range(3)], axis=-1)


def above(counts: Counts, mean: float, alpha: float) -> Bools:
    """After which pairs it is proven that d is above `mean`."""
    return log_wealth(D, counts, (mean + 1) / 2) >= log(1 / alpha)


def below(counts: Counts, mean: float, alpha: float) -> Bools:
    return log_wealth(1 - D, counts, (1 - mean) / 2) >= log(1 / alpha)


def z_test(counts: Counts, alpha: float) -> Bools:
    """After which pairs a z-test of "d is 0" would reject if it were the only one."""
    better, worse = counts[..., 2], counts[..., 0]
    discordant = np.maximum(better + worse, 1)
    return np.asarray(np.abs(better - worse) >= norm.isf(alpha / 2) * np.sqrt(discordant)) & (better + worse > 0)


def first(raised: Bools) -> Counts:
    """After how many pairs each run's first look raises it; one more than there are where none does."""
    looked = raised[:, FIRST_LOOK - 1 :]
    return np.where(looked.any(axis=1), looked.argmax(axis=1) + FIRST_LOOK, raised.shape[1] + 1).astype(np.int32)


def different(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> dict[str, int]:
    """In how many runs *different* is ever raised, and by a z-test looked at the same way."""
    found = {"different": 0, "z_test": 0}
    for done, counts in enumerate(tallies(truth, runs, pairs, seed), 1):
        alpha = gate.alpha_each
        raised = above(counts, 0.0, alpha / 2) | below(counts, 0.0, alpha / 2)
        found["different"] += int((first(raised) <= pairs).sum())
        found["z_test"] += int((first(z_test(counts, alpha)) <= pairs).sum())
        tick(min(done * TOGETHER, runs), runs)
    return found


def roll_backs(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> Counts:
    """After how many pairs each run proves that d is below -delta (runs,); `pairs` + 1 where none does."""
    found = []
    for done, counts in enumerate(tallies(truth, runs, pairs, seed), 1):
        found.append(first(below(counts, gate.limit("quality"), gate.alpha_each)))
        tick(min(done * TOGETHER, runs), runs)
    return np.concatenate(found)


def promotions(gate: Gate, truth: Truth, runs: int, pairs: int, seed: int, tick: Tick) -> Counts:
    """After how many pairs each run has every metric of the gate proven at once (runs,); the variant fails and is late
    as rarely as a healthy one."""
    found = []
    for done, counts in enumerate(tallies(truth, runs, pairs, seed), 1):
        passed = above(counts, gate.limit("quality"), gate.alpha_each)
        if gate.errors:
            passed &= few_errors(gate, counts.shape[:2], [seed, 1, done])
        if gate.latency:
            passed &= in_time(gate, counts.shape[:2], [seed, 2, done])
        found.append(first(passed))
        tick(min(done * TOGETHER, runs), runs)
    return np.concatenate(found)


def few_errors(gate: Gate, shape: tuple[int, ...], seed: list[int]) -> Bools:
    """After which pairs it is proven that few enough requests fail: one request a pair."""
    failed = np.cumsum(np.random.default_rng(seed).random(shape) < FAILED, axis=1)
    counts = np.stack([failed, np.arange(1, shape[1] + 1) - failed], axis=-1)
    return log_wealth(np.array([0.0, 1.0]), counts, 1 - gate.limit("errors")) >= log(1 / gate.alpha_each)


def in_time(gate: Gate, shape: tuple[int, ...], seed: list[int]) -> Bools:
    """After which pairs it is proven that enough requests are within the objective: one outcome a second."""
    runs, pairs = shape
    late = np.random.default_rng(seed).binomial(PAIRS_A_SECOND, 1 - WITHIN, (runs, pairs // PAIRS_A_SECOND))
    values = 1 - np.arange(PAIRS_A_SECOND + 1) / PAIRS_A_SECOND
    counts = np.stack([np.cumsum(late == k, axis=1) for k in range(PAIRS_A_SECOND + 1)], axis=-1)
    proven = log_wealth(values, counts, gate.limit("latency")) >= log(1 / gate.alpha_each)
    return np.repeat(proven, PAIRS_A_SECOND, axis=1)[:, :pairs]


def skew_found(choose: Callable[[str], str], weights: dict[str, float], clients: Iterator[str], most: int) -> int:
    """After how many of `most` requests the sample-ratio test says that `choose` does not follow `weights`; `most` + 1
    where it never does. A client that came before is not counted again."""
    test, known = SampleRatio(), set()
    for number, client in enumerate(clients, 1):
        if number > most:
            break
        if client not in known:
            known.add(client)
            test.add({choose(client): 1}, weights)
            if test.is_broken():
                return number
    return most + 1
