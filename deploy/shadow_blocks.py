"""The arithmetic of `make shadow-cost`: blocks of a steady load with and without shadows, in pairs, and what the server
counted meanwhile. Pure."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from loadtest.labelled import Asked
from variants.evidence.intervals import Interval

MOST_RATIO, LEAST_COMPLETED = 1.05, 0.9
"""What is wanted: the whole interval below the one, a share of the chosen above the other."""


@dataclass(frozen=True)
class Counts:
    """Shadow pairs of one variant by what came of them, as `/metrics` has them; `waiting` is of this moment."""

    compared: int = 0
    failed: int = 0
    unjudged: int = 0
    dropped_full: int = 0
    dropped_late: int = 0
    waiting: int = 0

    @property
    def dropped(self) -> int:
        return self.dropped_full + self.dropped_late

    @property
    def chosen(self) -> int:
        return self.compared + self.failed + self.unjudged + self.dropped + self.waiting

    def since(self, before: "Counts") -> "Counts":
        """What was added; `waiting` is as it is."""
        totals = {name: value - getattr(before, name) for name, value in asdict(self).items()}
        return Counts(**totals | {"waiting": self.waiting})


@dataclass(frozen=True)
class Written:
    """Shadow pairs as the server's journal has them, which counts by itself what was chosen."""

    chosen: int = 0
    compared: int = 0
    failed: int = 0
    unjudged: int = 0
    dropped: int = 0

    def plus(self, shadowed: Mapping[str, Any]) -> "Written":
        """With what one batch of an ingress says."""
        failed = sum(pair["failed"] for pair in shadowed["pairs"])
        return Written(
            self.chosen + shadowed["chosen"],
            self.compared + len(shadowed["pairs"]) - failed,
            self.failed + failed,
            self.unjudged + len(shadowed["unjudged"]),
            self.dropped + len(shadowed["dropped"]),
        )

    def since(self, before: "Written") -> "Written":
        return Written(**{name: value - getattr(before, name) for name, value in asdict(self).items()})

    @property
    def settled(self) -> bool:
        """Something came of every request that was chosen."""
        return self.chosen == self.compared + self.failed + self.unjudged + self.dropped

    def agrees(self, counts: Counts) -> bool:
        return (self.chosen, self.compared, self.failed, self.unjudged, self.dropped) == (
            counts.chosen, counts.compared, counts.failed, counts.unjudged, counts.dropped,
        )  # fmt: skip


@dataclass(frozen=True)
class Block:
    """What counts of one block of a pair, latencies in seconds."""

    pair: int
    shadowed: bool
    requests: int
    failed: int
    p50_s: float
    p95_s: float

    @classmethod
    def of(cls, pair: int, shadowed: bool, asked: Sequence[Asked]) -> "Block":
        """ValueError with fewer than two answers."""
        answered = [each.latency_s for each in asked if each.status == 200]
        p95 = statistics.quantiles(answered, n=20, method="inclusive")[18]
        failed = len(asked) - len(answered)
        return cls(pair, shadowed, len(asked), failed, round(statistics.median(answered), 5), round(p95, 5))


@dataclass(frozen=True)
class Round:
    """Pairs of blocks under one load, which is a share of `saturation_per_s`. `counts` are as of the end of the load,
    so what then still waits is not completed. `left_over` replays waited when blocks without shadows began to count."""

    saturation_per_s: float
    blocks: tuple[Block, ...]
    counts: Counts
    left_over: int
    chosen_without_shadows: int

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> "Round":
        blocks = tuple(Block(**block) for block in document["blocks"])
        return cls(**{**document, "blocks": blocks, "counts": Counts(**document["counts"])})

    def describe(self) -> str:
        found = " ".join(f"{ratio:.2f}" for ratio in ratios(self.blocks))
        return f"p95 with shadows over without {found}; {self.counts.compared} of {self.counts.chosen} compared"


def ratios(blocks: Sequence[Block], of: Literal["p50_s", "p95_s"] = "p95_s") -> list[float]:
    """A latency with shadows over the same without, a pair of blocks each."""
    on = {block.pair: getattr(block, of) for block in blocks if block.shadowed}
    off = {block.pair: getattr(block, of) for block in blocks if not block.shadowed}
    return [on[pair] / off[pair] for pair in sorted(on)]


def mean_ratio(found: Sequence[float], confidence: float = 0.95) -> Interval:
    """Geometric mean of ratios with Student's t interval of their logarithms, which are a sample of paired differences.
    ValueError with fewer than two."""
    from scipy.stats import t

    logs = [math.log(ratio) for ratio in found]
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(t.ppf((1 + confidence) / 2, len(logs) - 1)) * error
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def summarise(rounds: Sequence[Round]) -> dict[str, Any]:
    """The figures of all rounds, and whether they are what is wanted."""
    blocks, counts = [block for each in rounds for block in each.blocks], [each.counts for each in rounds]
    found = ratios(blocks)
    ratio, chosen = mean_ratio(found), sum(each.chosen for each in counts)
    compared = sum(each.compared for each in counts)
    share = compared / chosen if chosen else 0.0
    return {
        "p95_ratio": {**asdict(ratio), "median": statistics.median(found), "pairs": len(found), "ratios": found},
        "p50_ratio": asdict(mean_ratio(ratios(blocks, "p50_s"))),
        "completed": {"chosen": chosen, "compared": compared, "share": share},
        "dropped": {
            "full": sum(each.dropped_full for each in counts),
            "late": sum(each.dropped_late for each in counts),
            "waiting_at_the_end_of_a_round": sum(each.waiting for each in counts),
            "failed": sum(each.failed for each in counts),
            "unjudged": sum(each.unjudged for each in counts),
        },
        "left_over": sum(each.left_over for each in rounds),
        "chosen_without_shadows": sum(each.chosen_without_shadows for each in rounds),
        "wanted": {
            "p95_ratio_below_1.05": ratio.high < MOST_RATIO,
            "completed_at_least_0.9": share >= LEAST_COMPLETED,
        },
    }
