"""A row of `make bench-gate`: a way in which a verdict may be fooled, with its known truth.

Each row draws many rollouts and says in which share the gate promoted, rolled back, or did neither. `limit` is the
largest share of decisions that are wrong: promotions of a variant beyond the margin, roll-backs of one that keeps it,
or verdicts that are withheld where the truth is plain, or rollouts that have no end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.benchmarks.gate import traffic
from loadtest.benchmarks.gate.traffic import Bools, Numbers, Tick
from variants.evidence.gate import Gate

MARGIN, ON_CARD, PARENT, DISCORDANCE = 0.02, 0.8, 0.9, 0.10
"""The allowed loss; the parent's contrast on its card and its accuracy; the share of pairs with d other than 0."""
GATE = Gate(quality=MARGIN)
Decide = Callable[[np.random.Generator, int], tuple[Numbers, Numbers] | tuple[Numbers, Numbers, Bools]]
"""When each of so many runs is promoted and when it is rolled back, in any unit; NEVER where neither. A third part says
which runs have no end, where that is wrong."""
Wrong = Literal["promoted", "rolled_back", "withheld", "waits"]


@dataclass(frozen=True)
class Row:
    """A case: its name, its runs, and the decisions that are wrong in it. `live`: the controller's own classes carry
    out each run, which takes longer."""

    name: str
    decide: Decide
    wrong: tuple[Wrong, ...] = ("promoted",)
    limit: float = 0.05
    live: bool = False


def measured(row: Row, runs: int, seed: int, tick: Tick) -> list[dict[str, object]]:
    """The row's shares over `runs` runs, once for each decision that is wrong in it."""
    outcomes = []
    for begun in range(0, runs, traffic.BLOCK):
        random = np.random.default_rng([seed, begun])
        outcomes.append(row.decide(random, min(traffic.BLOCK, runs - begun)))
        tick(min(begun + traffic.BLOCK, runs), runs)
    promoted, rolled_back, *waits = (np.concatenate(each) for each in zip(*outcomes, strict=True))
    shares = traffic.shares(promoted, rolled_back)
    if waits:
        shares["waits_share"] = float(waits[0].mean())
    first, *others = row.wrong
    names = {first: row.name} | {wrong: f"{row.name}: {wrong.replace('_', ' ')}" for wrong in others}
    return [{"name": name, "runs": runs, **shares, "wrong": wrong, "limit": row.limit} for wrong, name in names.items()]
