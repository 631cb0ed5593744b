"""Bounds the share of the outcomes that any one client brings.

Whether an outcome counts depends on who sent it and on how many came before, never on its value. So the bounds on
means stay valid for the outcomes that count. The numbers are kept by the space-saving algorithm (A. Metwally, D.
Agrawal and A. El Abbadi 2005) in constant memory. It never counts a client that it holds too low. One that it dropped
had at most 1 in `COUNTERS` of all outcomes. So nobody gets more than the share, rounded up to a whole outcome, if the
share is at least 0.01. Rounded down, twelve clients could not bring a second outcome each at a share of a tenth.
"""

from dataclasses import dataclass, field
from math import ceil

COUNTERS = 512


@dataclass
class ClientShares:
    """`counts` by client, `n` outcomes that counted, `over` those of clients that had more than their share."""

    counts: dict[str, int] = field(default_factory=dict)
    n: int = 0
    over: int = 0

    def admit(self, client: str | None, share: float) -> bool:
        """Count one more outcome, if its client stays within `share` of all. None: a client that has no name."""
        if client is not None and self.counts.get(client, 0) + 1 > ceil(round(share * (self.n + 1), 9)):
            self.over += 1
            return False
        self.n += 1
        if client is not None:
            self.count(client)
        return True

    def count(self, client: str) -> None:
        if client not in self.counts and len(self.counts) >= COUNTERS:
            least = min(self.counts, key=self.counts.__getitem__)
            self.counts[client] = self.counts.pop(least)
        self.counts[client] = self.counts.get(client, 0) + 1
