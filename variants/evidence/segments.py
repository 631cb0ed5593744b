"""The paired difference in each segment of the requests, with bounds that hold at every look.

A loss in a small segment disappears in the mean. Alpha is divided among the segments, so that all bounds hold together.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from variants.evidence.betting import Tally, is_below, lower_bound, upper_bound

FEWEST = 5
SUSPICION = 0.2
"""The probability that a segment without a loss ever holds up a promotion, over all segments."""


@dataclass(frozen=True)
class SegmentFinding:
    """The mean difference of the requests with one value of a segment ("language=de"), with its bounds. With fewer than
    `FEWEST` requests the bounds are -1 and 1. `suspect`: it seems to lose more than the mean may, which is enough to
    hold up a promotion."""

    name: str
    n: int
    value: float
    low: float
    high: float
    suspect: bool


def judge_segments(
    segments: Mapping[str, Counter[float]], alpha: float, limit: float | None
) -> tuple[SegmentFinding, ...]:
    """Each segment, the one with the lowest upper bound first. `limit` is the least difference that the mean may
    have, None without one."""
    findings = []
    each, suspicion = (part / max(1, len(segments)) for part in (alpha, SUSPICION))
    for name, counts in segments.items():
        tally = Tally(-1.0, 1.0, dict(counts))
        bounds = (lower_bound(tally, each), upper_bound(tally, each)) if tally.n >= FEWEST else (-1.0, 1.0)
        suspect = limit is not None and is_below(tally, limit, suspicion)
        findings.append(SegmentFinding(name, tally.n, tally.mean, *bounds, suspect))
    return tuple(sorted(findings, key=lambda finding: (finding.high, finding.value)))


def segments_missing(findings: tuple[SegmentFinding, ...], most_loss: float | None) -> list[str]:
    """Why a segment forbids a promotion. With `most_loss` each must be proven to lose no more. Without it, none may be
    suspect."""
    if most_loss is not None and not findings:
        return ["segments: no compared request has one yet"]
    reasons = []
    for each in findings:
        interval = f"{each.value:+.3f} ({each.low:+.3f} to {each.high:+.3f}, n {each.n})"
        if most_loss is not None and each.low <= -most_loss:
            reasons.append(f"segment {each.name}: {interval}, not yet shown to be at least {-most_loss:g}")
        elif most_loss is None and each.suspect:
            reasons.append(f"segment {each.name} seems to lose more than the mean may: {interval}")
    return reasons
