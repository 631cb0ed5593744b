"""What was said of the pairs of one variant and its parent whose answers differ: which of both is better.

Equal answers are no loss and no gain, with certainty, so nobody is asked about them. A pair whose answers differ is
lost (`variants.evidence.paired`) until somebody says which is better: its label, one that came later, a person, or a
judge. A label decides only where its key is trusted to label. The first opinion on a pair counts. What a judge says of
pairs with a label also shows how far to trust it.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from serve.control.seen_set import SeenSet
from variants.evidence.paired import Paired

REPEATED, KNOWN = " repeated", " known"
"""Marks of a pair whose request came before, and of one whose client sent another before."""


@dataclass
class OpinionCounts:
    """`open` has the pairs that wait for an opinion, with `REPEATED` and `KNOWN` where those hold, `closed` those that
    had one. `by` counts outcomes by who gave them. `judge` counts pairs with a label by whether the judge agreed with
    it."""

    open: SeenSet = field(default_factory=SeenSet)
    closed: SeenSet = field(default_factory=SeenSet)
    equal: int = 0
    differing: int = 0
    by: Counter[str] = field(default_factory=Counter)
    judge: Counter[str] = field(default_factory=Counter)

    def count_pair(
        self, pair: dict[str, Any], preference: Paired, delta: float | None, repeated: bool, new_client: bool
    ) -> None:
        """Count a compared pair. Pairs of older servers do not say whether their answers are the same."""
        same = pair.get("same")
        if same is None:
            return
        if same:
            self.equal += 1
            add(preference, pair, 0, delta, repeated, new_client)
            return
        self.differing += 1
        if pair["metric"] == "quality" and pair["trusted"]:  # a client's junk label would say that both are alike
            variant, parent = pair["values"]
            self.by["label"] += 1
            add(preference, pair, (variant > parent) - (variant < parent), delta, repeated, new_client)
        elif self.open.add(pair["id"]):
            preference.lost += 1
            for holds, mark in ((repeated, REPEATED), (not new_client, KNOWN)):
                if holds:
                    self.open.add(pair["id"] + mark)

    def count(self, opinion: dict[str, Any], preference: Paired, delta: float | None) -> None:
        """Count an opinion, if its pair waits for one."""
        if opinion["known"] is not None and opinion["by"] == "judge":
            self.judge["agreed" if opinion["known"] == opinion["outcome"] else "disagreed"] += 1
        if opinion["id"] in self.open and self.closed.add(opinion["id"]):
            preference.lost -= 1
            self.by[opinion["by"]] += 1
            repeated, known = (opinion["id"] + mark in self.open for mark in (REPEATED, KNOWN))
            add(preference, opinion, opinion["outcome"], delta, repeated, not known)

    def to_json(self) -> dict[str, Any]:
        return {
            "equal": self.equal,
            "differing": self.differing,
            "by": dict(self.by),
            "judge": {"agreed": self.judge["agreed"], "disagreed": self.judge["disagreed"]},
        }


def add(
    preference: Paired, pair: dict[str, Any], outcome: int, delta: float | None, repeated: bool, new_client: bool
) -> None:
    """Add an outcome, of which only the difference of its values counts."""
    values = float(outcome > 0), float(outcome < 0)
    preference.add(values, repeated, delta, pair["segments"], new_client=new_client)
