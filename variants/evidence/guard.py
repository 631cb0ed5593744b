"""Compares a variant's own clients with its parent's clients in the same minutes, at each step of a rollout.

Shadow pairs show what a variant answers. They say nothing of what its clients get at this share of the traffic. So the
gate has a guard: the variant's requests fail at most `errors` more often than its parent's, and the 95th percentile of
its latency is at most `latency` times its parent's.

- errors: one outcome a second, the mean over clients of their failed requests. Requests that fail together within a
  second, or one client's, are one outcome. For promotion, the difference of both arms is proven to be below the limit.
  Harm is detected against the parent's rate so far, or in the same second where that is higher: then a common outage
  harms neither. So the rate is an estimate, and `make bench-gate` measures false alarms.
- latency: one outcome for each block of `block_s` seconds in which both arms had `FEWEST` requests: whether the
  variant's percentile was above `latency` times its parent's. It holds where that is proven to be the smaller part of
  all blocks.
"""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import Field

from variants.document import Document
from variants.evidence.betting import Bets, Tally, is_below, outcomes_to_go
from variants.evidence.detector import Detector

FEWEST = 10
"""Requests of each arm in a block; with fewer, the percentile says little."""
START = 0.05
"""The parent's rate of failures that is assumed before its first second, with the weight of one second."""
FEW_FAIL = Bets.near(np.array([0.5]), np.array([1.0]), 0.505)
MOSTLY = Bets(np.array([0.5, 0.9]), np.array([0.5, 0.5]))
HALF = 0.5


class Guard(Document):
    """What a variant's own clients may lose against their parent's. None: not compared.

    `errors` is a difference of shares, `latency` a ratio of 95th percentiles. A step needs at least `least` requests of
    the variant, in at least `block_s` seconds with such. Both limits are proven over all steps before the last ends."""

    errors: Annotated[float, Field(strict=True, gt=0, lt=1)] | None = 0.01
    latency: Annotated[float, Field(strict=True, ge=1, le=100)] | None = 1.25
    block_s: Annotated[float, Field(strict=True, ge=1, le=3600)] = 60.0
    least: Annotated[int, Field(strict=True, ge=1)] = 100


@dataclass
class ParentRate:
    """The parent's failures so far: the sum over seconds of the share that failed, and the number of seconds."""

    failed: float = START
    seconds: float = 1.0

    def add(self, failed: float) -> None:
        self.failed += failed
        self.seconds += 1

    @property
    def rate(self) -> float:
        return self.failed / self.seconds


@dataclass
class Beside:
    """Both arms in the same time, over all steps with clients of the variant.

    `differences` has a second's share of failures of the variant minus its parent's, `slow` 1 for a block in which the
    variant was slower than allowed."""

    differences: Tally = field(default_factory=lambda: Tally(-1.0, 1.0))
    slow: Tally = field(default_factory=lambda: Tally(0.0, 1.0))

    def missing(self, guard: Guard, alpha: float) -> list[str]:
        """What is not yet proven; each proof is wrong with probability at most `alpha`."""
        reasons = []
        if guard.errors is not None and not is_below(self.differences, guard.errors, alpha, FEW_FAIL):
            n, left = self.differences.n, self.seconds_left(guard.errors, alpha)
            so_far = f"{self.differences.mean:+.4f} in {n} s" if n else "no second yet"
            reasons.append(
                f"clients' errors against the parent's: {so_far}, not yet shown to be at most {guard.errors:g} more"
                + (f" (about {left} s more like these)" if left else "")
            )
        if guard.latency is not None and not is_below(self.slow, HALF, alpha, MOSTLY):
            seen = f"slower in {self.slow.counts.get(1.0, 0)} of {self.slow.n} blocks of {guard.block_s:g} s"
            reasons.append(
                f"clients' latency against the parent's: {seen} with {FEWEST} requests of both, not yet shown to be at "
                f"most {guard.latency:g} times in most blocks"
            )
        return reasons

    def seconds_left(self, limit: float, alpha: float) -> int | None:
        """How many more seconds like those so far would prove the guard on errors; None where they never would."""
        if not self.differences.n or self.differences.mean >= limit:
            return None
        return outcomes_to_go(self.differences, limit, alpha, FEW_FAIL)


@dataclass
class Arms:
    """The outcomes of one step: `requests` of the variant in `seconds` distinct seconds, and detectors of harm.

    `more_failed` is the sum over `beside` seconds of the variant's share of failures minus its parent's, `slow` the
    number of `blocks` in which the variant was slower than allowed.
    Replays have a detector of their own: many sound ones would hide that its clients fail."""

    requests: int = 0
    seconds: int = 0
    latest: int = -1
    more_failed: float = 0.0
    beside: int = 0
    slow: int = 0
    blocks: int = 0
    failing: Detector = field(default_factory=Detector)
    replays: Detector = field(default_factory=Detector)
    slowing: Detector = field(default_factory=Detector)

    def add_second(self, second: int, parent: float | None, variant: float, requests: int, so_far: ParentRate,
                   limit: float) -> None:  # fmt: skip
        """Count a second of the variant. `parent` is its parent's share of failures then, None without requests."""
        self.requests += requests
        self.seconds += second > self.latest
        self.latest = max(self.latest, second)
        expected = max(so_far.rate, parent or 0.0) + limit
        if expected < 1:
            self.failing.add(variant, expected)
        if parent is not None:
            self.more_failed += variant - parent
            self.beside += 1

    def add_replay(self, failed: bool, so_far: ParentRate, limit: float) -> None:
        """Count a replay that the variant was asked to answer."""
        if so_far.rate + limit < 1:
            self.replays.add(float(failed), so_far.rate + limit)

    def add_block(self, slow: bool) -> None:
        """Count a block of both arms."""
        self.slow += slow
        self.blocks += 1
        self.slowing.add(float(slow), HALF)

    def broken(self, guard: Guard, alpha: float) -> list[str]:
        """What is proven to break the guard; each wrong with probability at most `alpha`."""
        failing = guard.errors is not None and self.failing.has_raised(alpha)
        replays = guard.errors is not None and self.replays.has_raised(alpha)
        slowing = guard.latency is not None and self.slowing.has_raised(alpha)
        names = {"errors": failing, "errors of replays": replays, "latency of its clients": slowing}
        return [f"{name} in this step" for name, raised in names.items() if raised]

    def missing(self, guard: Guard) -> list[str]:
        """What this step has not shown yet: enough requests of the variant's own clients, time, and no sign of harm at
        this share of the traffic, which earlier steps cannot show."""
        reasons = []
        if self.requests < guard.least or self.seconds < guard.block_s:
            reasons.append(
                f"this step: {self.requests} of at least {guard.least} requests of its own clients, "
                f"in {self.seconds} of at least {guard.block_s:g} s"
            )
        if guard.errors is not None and self.more_failed > guard.errors * self.beside:
            reasons.append(f"this step: its clients' requests fail {self.more_failed / self.beside:.4f} more often")
        if guard.latency is not None and self.slow > HALF * self.blocks:
            reasons.append(f"this step: its clients wait longer in {self.slow} of {self.blocks} blocks")
        return reasons
