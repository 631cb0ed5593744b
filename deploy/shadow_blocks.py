"""The arithmetic of `make shadow-cost`: blocks of a steady load with and without shadows, in pairs, and what the server
counted meanwhile. Pure."""

import math
import statistics
from collections import Counter
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
    """All stretches of one kind in a pair of blocks, latencies in seconds; `saturation_per_s` is what their load is a
    share of. `counts` are as of the end of the load, so what then still waits is not completed. `left_over` replays
    waited when these stretches began to count."""

    pair: int
    shadowed: bool
    saturation_per_s: float
    requests: int
    failed: int
    p50_s: float
    p95_s: float
    counts: Counts
    left_over: int

    @classmethod
    def of(
        cls,
        pair: int,
        shadowed: bool,
        saturation_per_s: float,
        asked: Sequence[Asked],
        counts: Counts,
        left_over: int = 0,
    ) -> "Block":
        """ValueError with fewer than two answers."""
        answered = [each.latency_s for each in asked if each.status == 200]
        p95 = statistics.quantiles(answered, n=20, method="inclusive")[18]
        p50, failed = statistics.median(answered), len(asked) - len(answered)
        found = round(p50, 5), round(p95, 5)
        return cls(pair, shadowed, saturation_per_s, len(asked), failed, *found, counts, left_over)

    def describe(self) -> str:
        found = f"pair {self.pair + 1}, shadows {'on ' if self.shadowed else 'off'}: p95 {self.p95_s * 1000:.0f} ms"
        return f"{found} of {self.requests - self.failed}, {self.counts.compared} of {self.counts.chosen} compared"


def whole_pairs(documents: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Blocks as they were written, but for one whose other is missing."""
    blocks = [Block(**{**each, "counts": Counts(**each["counts"])}) for each in documents]
    pairs = Counter(block.pair for block in blocks)
    return [block for block in blocks if pairs[block.pair] == 2]


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


def summarise(blocks: Sequence[Block]) -> dict[str, Any]:
    """The figures of all blocks, and whether they are what is wanted."""
    found, on = ratios(blocks), [block.counts for block in blocks if block.shadowed]
    ratio, chosen = mean_ratio(found), sum(counts.chosen for counts in on)
    compared = sum(counts.compared for counts in on)
    share = compared / chosen if chosen else 0.0
    return {
        "p95_ratio": {**asdict(ratio), "median": statistics.median(found), "pairs": len(found), "ratios": found},
        "p50_ratio": asdict(mean_ratio(ratios(blocks, "p50_s"))),
        "completed": {"chosen": chosen, "compared": compared, "share": share},
        "dropped": {
            "full": sum(counts.dropped_full for counts in on),
            "late": sum(counts.dropped_late for counts in on),
            "waiting_at_the_end_of_a_block": sum(counts.waiting for counts in on),
            "failed": sum(counts.failed for counts in on),
            "unjudged": sum(counts.unjudged for counts in on),
        },
        "left_over": sum(block.left_over for block in blocks if not block.shadowed),
        "wanted": {
            "p95_ratio_below_1.05": ratio.high < MOST_RATIO,
            "completed_at_least_0.9": share >= LEAST_COMPLETED,
        },
    }
