"""Judges simulated traffic as the controller does: lost requests, labels that may be junk, clients.

Outcomes are drawn at random instead of served, in blocks of runs. They are judged by the functions that judge live
traffic: `betting.log_wealth` with the gate's alphas, `detector.advance`, `ClientShares`. It looks every `EVERY` pairs,
as a controller that looks once a second.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from loadtest.benchmarks.gate import simulation
from variants.evidence.betting import DEFAULT, Bets, log_wealth
from variants.evidence.client_shares import ClientShares
from variants.evidence.detector import advance
from variants.evidence.gate import Gate

Ints = NDArray[np.int8]
Bools = NDArray[np.bool_]
Numbers = NDArray[np.int64]
Tick = Callable[[int, int], None]
EVERY = 10
BLOCK = 50
NEVER = np.iinfo(np.int64).max


@dataclass
class Pairs:
    """Compared requests of some runs, all of shape (runs, pairs). `d` is the variant's score minus its parent's.

    `contrast` is the parent's score less its score by another request's label, None where no label is judged. `counts`
    says which requests count for the gate, `lost` which came to nothing. `repeated` requests came before, `first` ones
    are their clients' first."""

    d: Ints
    contrast: Ints | None = None
    lost: Bools | None = None
    counts: Bools | None = None
    repeated: Bools | None = None
    first: Bools | None = None


def verdicts(pairs: Pairs, gate: Gate, on_card: float | None = None, bets: Bets = DEFAULT) -> tuple[Numbers, Numbers]:
    """The number of pairs after which each run is promoted, and after which it is rolled back; NEVER where neither."""
    passed, broken = looks(pairs, gate, on_card, bets)
    return first(passed), first(broken)


def looks(pairs: Pairs, gate: Gate, on_card: float | None = None, bets: Bets = DEFAULT) -> tuple[Bools, Bools]:
    """At which looks the gate passes, and at which harm is proven; both (runs, looks)."""
    assert gate.quality is not None
    counted = np.ones_like(pairs.d, dtype=bool) if pairs.counts is None else pairs.counts
    lost = np.zeros_like(counted) if pairs.lost is None else pairs.lost & counted
    kept = counted & ~lost
    once = kept if pairs.repeated is None else kept & ~pairs.repeated
    passed = above(seen(pairs.d, kept), seen_lost(lost), -gate.quality, gate.alpha, bets)
    passed &= above(seen(pairs.d, once), seen_lost(lost), -gate.quality, gate.alpha, bets)
    if pairs.contrast is not None:
        passed &= above(seen(pairs.contrast, kept), None, 0.0, gate.alpha)
        passed &= relative(pairs.d, pairs.contrast, kept, lost, gate.quality / (on_card or 1.0), gate.alpha, bets)
    if gate.clients == "sample" and pairs.first is not None:
        passed &= above(seen(pairs.d, kept & pairs.first), seen_lost(lost), -gate.quality, gate.alpha, bets)
    return passed, below(seen(pairs.d, kept), seen_lost(lost), -gate.quality, gate.alpha_each)


def seen(values: Ints, kept: Bools) -> NDArray[np.int32]:
    """How often -1, 0 and 1 have come at each look, of shape (runs, looks, 3)."""
    each = [np.cumsum((values == value) & kept, axis=1, dtype=np.int32) for value in (-1, 0, 1)]
    return np.stack(each, axis=-1)[:, EVERY - 1 :: EVERY]


def seen_lost(lost: Bools) -> NDArray[np.int32]:
    return np.cumsum(lost, axis=1, dtype=np.int32)[:, EVERY - 1 :: EVERY]


def above(counts: NDArray[np.int32], lost: NDArray[np.int32] | None, mean: float, alpha: float,
          bets: Bets = DEFAULT) -> Bools:  # fmt: skip
    """At which looks the mean is proven to be above `mean`, lost requests at -1."""
    counts = counts.copy()
    if lost is not None:
        counts[..., 0] += lost
    return simulation.above(counts, mean, alpha, bets)


def below(counts: NDArray[np.int32], lost: NDArray[np.int32] | None, mean: float, alpha: float) -> Bools:
    """At which looks the mean is proven to be below `mean`, lost requests at 1."""
    counts = counts.copy()
    if lost is not None:
        counts[..., 2] += lost
    return simulation.below(counts, mean, alpha)


def relative(d: Ints, contrast: Ints, kept: Bools, lost: Bools, scale: float, alpha: float,
             bets: Bets) -> Bools:  # fmt: skip
    """At which looks d + `scale` * contrast is proven to be above 0 in the mean (`Paired.relative`)."""
    values, counts = [-1.0], [seen_lost(lost)]
    for own in (-1, 0, 1):
        for other in (-1, 0, 1):
            values.append(own + scale * other)
            counts.append(
                np.cumsum((d == own) & (contrast == other) & kept, axis=1, dtype=np.int32)[:, EVERY - 1 :: EVERY]
            )
    width = 2 + 2 * scale
    scaled = (np.array(values) + width / 2) / width
    return log_wealth(scaled, np.stack(counts, axis=-1), 0.5, bets) >= log(1 / alpha)


def first(raised: Bools) -> Numbers:
    """The number of pairs at the first look that is raised."""
    return np.where(raised.any(axis=1), (raised.argmax(axis=1) + 1) * EVERY, NEVER)


def harmed_after(values: NDArray[np.float64], limit: NDArray[np.float64] | float, alpha: float) -> Numbers:
    """The number of outcomes after which the detector of harm is raised. `values` (runs, n) in [0, 1], `limit` the
    largest mean that is allowed, one number or (runs, n)."""
    runs, n = values.shape
    limits = np.broadcast_to(np.asarray(limit, dtype=np.float64), values.shape)
    wealth, raised = np.zeros((runs, len(DEFAULT.shares))), np.full(runs, NEVER)
    for number in range(n):
        wealth = advance(wealth, number + 1, values[:, number], limits[:, number])
        raised[(raised == NEVER) & (wealth.sum(axis=1) >= 1 / alpha)] = number + 1
    return raised


def admitted(clients: NDArray[np.int64], share: float) -> Bools:
    """Which requests count where no client may bring more than `share`; `clients` (runs, n), -1 for a trusted one."""
    counts = np.zeros_like(clients, dtype=bool)
    for run, row in enumerate(clients):
        shares = ClientShares()
        counts[run] = [shares.admit(None if client < 0 else str(client), share) for client in row]
    return counts


def drawn(random: np.random.Generator, shape: tuple[int, int], parent: float, difference: float, discordance: float,
          chance: float = 0.1) -> tuple[Ints, Ints]:  # fmt: skip
    """d and the contrast of honestly labelled requests. `parent` is its accuracy, `chance` how often its answer is
    right by another label."""
    worse, better = (discordance - difference) / 2, (discordance + difference) / 2
    right = random.random(shape) < parent
    # the variant loses only what its parent gets right, and gains only what its parent gets wrong
    other = random.random(shape)
    d = np.where(right, -(other < worse / parent).astype(np.int8), (other < better / (1 - parent)).astype(np.int8))
    contrast = right.astype(np.int8) - (random.random(shape) < chance).astype(np.int8)
    return d.astype(np.int8), contrast


def shares(promoted: Numbers, rolled_back: Numbers) -> dict[str, float]:
    """Which runs were promoted, rolled back, and neither."""
    won = promoted < rolled_back
    lost = rolled_back < np.minimum(promoted, NEVER)
    return {
        "promoted_share": float(won.mean()),
        "rolled_back_share": float(lost.mean()),
        "withheld_share": float((~won & ~lost).mean()),
    }
