"""Whether the requests that were not compared for lack of time are longer or shorter than the compared ones.

Long requests wait longer, and a compressed model may fail on exactly those. Half of the skipped requests should be
longer than the median of the compared ones before them. Testing by betting says when they are not, at every look.

    null    a skipped request is longer than the median so far with probability one half
    breaks  a load that rises with the length of requests in general, which this is to show
"""

from collections import Counter
from dataclasses import dataclass, field

from variants.evidence.betting import Tally, is_above, is_below

ALPHA = 0.001
FEW = 20
TOLERATED = 0.1
"""A share of long requests between 0.4 and 0.6 says nothing: many requests have the median's length."""
KINDS = 4096


@dataclass
class SkippedLengths:
    """`compared` has the number of compared requests by length in bytes, `longer` 1 for a skipped request above their
    median and 0 for one below."""

    compared: Counter[int] = field(default_factory=Counter)
    longer: Tally = field(default_factory=lambda: Tally(0.0, 1.0))
    _median: int | None = None

    def add_compared(self, length: int) -> None:
        if length in self.compared or len(self.compared) < KINDS:
            self.compared[length] += 1
            self._median = None

    def add_skipped(self, length: int) -> None:
        """Count a skipped request, once enough were compared. One of the median's own length counts as half."""
        if self._median is None:
            if self.compared.total() < FEW:
                return
            self._median = self.median()
        self.longer.add(0.5 if length == self._median else float(length > self._median))

    def median(self) -> int:
        """The lower median of the compared lengths. ValueError while there are none."""
        below, total = 0, self.compared.total()
        for each in sorted(self.compared):
            below += self.compared[each]
            if 2 * below >= total:
                return each
        raise ValueError("no request was compared yet")

    def differ(self) -> bool:
        """Whether it is proven, wrong with probability at most 2 * `ALPHA`, that the skipped ones are others."""
        if self.longer.n < FEW:
            return False
        return is_above(self.longer, 0.5 + TOLERATED, ALPHA) or is_below(self.longer, 0.5 - TOLERATED, ALPHA)
