"""One stage while it runs: who sends what next, and what counts for the slice's window. No network, no Locust.

At the edges of a slice: clients begin spread over the lead-in and send requests until the window closes. Then no new
requests begin, and open ones run to their end. A token counts for the slice if its frame came inside the window,
whenever its request began or ended. A request counts with the share of its duration that lies inside. So nothing is
rounded to whole requests, which are few in a slice. An engine that begins idle, or runs out of requests, does not
change the figures.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from loadtest.campaign.plan import Content, Lane, Plan, Pool, Stage

MOST_FAILURES_IN_A_ROW = 20


class StageError(Exception):
    """The stage cannot continue. The message says why."""


@dataclass
class Turn:
    """One request to send: `planned` is its time on the stage's clock, or None in a closed loop."""

    pool: Pool
    content: Content
    variant: str | None
    client: str | None
    planned: float | None


@dataclass
class StageRun:
    """The state of a running `Stage`. `clock` gives monotonic seconds; `began` is when its gate opened, on that clock.

    `positions` counts the contents of each pool that each variant was asked. It is kept over the stages of a campaign,
    so no prompt is asked twice.
    """

    plan: Plan
    stage: Stage
    positions: dict[tuple[str, str], int]
    clock: Callable[[], float] = time.perf_counter
    began: float = 0.0
    done: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    _next_arrival: int = 0

    @property
    def users(self) -> int:
        if self.stage.arrivals:
            return min(self.stage.in_flight, len(self.stage.arrivals))
        return sum(lane.clients for lane in self.stage.lanes)

    @property
    def opens(self) -> float:
        """When the slice's window opens, on the clock."""
        return self.began + (self.stage.window.lead_in_s if self.stage.window else 0.0)

    @property
    def closes(self) -> float | None:
        """When no more requests begin, on the clock; None when the pool decides."""
        window = self.stage.window
        return None if window is None else self.opens + window.seconds

    @cached_property
    def clients(self) -> Iterator[tuple[Lane, float]]:
        """Each closed-loop client once: its lane, and how many seconds after the gate it begins."""
        lead_in = self.stage.window.lead_in_s if self.stage.window else 0.0
        return ((lane, lead_in * index / lane.clients) for lane in self.stage.lanes for index in range(lane.clients))

    def next_arrival(self) -> Turn | None:
        """The earliest planned request that no user has taken; None after the last."""
        if self._next_arrival >= len(self.stage.arrivals):
            return None
        arrival = self.stage.arrivals[self._next_arrival]
        self._next_arrival += 1
        pool = self.plan.pools[arrival.pool]
        return Turn(pool, pool.contents[arrival.content], None, arrival.client, self.began + arrival.at_s)

    def next_in(self, lane: Lane) -> Turn | None:
        """The lane's next request; None when the lane has ended. Raises StageError where prompts have run out."""
        if self.closes is not None and self.clock() >= self.closes:
            return None
        pool = self.plan.pools[lane.pool]
        size, position = len(pool.contents), self.positions.get((lane.pool, lane.variant), 0)
        if position >= size and lane.at_end == "stop":
            return None
        if position >= size and lane.at_end == "refuse":
            raise StageError(f"all {size} prompts for {lane.variant} are used up: shorten the slices")
        self.positions[lane.pool, lane.variant] = position + 1
        return Turn(pool, pool.contents[position % size], lane.variant, None, None)

    def note(self, error: str | None) -> None:
        """Count a request that ended. Raises StageError where too many in a row have failed."""
        self.done += 1
        self.failures_in_a_row = 0 if error is None else self.failures_in_a_row + 1
        self.last_error = error or self.last_error
        if self.failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise StageError(f"{self.failures_in_a_row} requests in a row failed; the last: {self.last_error}")

    def progress(self) -> tuple[float, float, float]:
        """How much is done, of how much, and the seconds left. The first two are seconds of the window or of the
        arrivals, else requests."""
        elapsed = self.clock() - self.began
        if self.stage.window is not None or self.stage.arrivals:
            expected = self.stage.expected_s
            return min(elapsed, expected), expected, max(0.0, expected - elapsed)
        total = sum(len(self.plan.pools[lane.pool].contents) for lane in self.stage.lanes)
        # The first few answers are a poor estimate of the speed.
        sure = self.done >= 0.05 * total
        left = elapsed * (total - self.done) / self.done if sure else self.stage.expected_s - elapsed
        return self.done, total, max(0.0, left)


def tokens_within(token_times: list[float], tokens: int, opened: float, seconds: float) -> float:
    """How many of `tokens` came in [opened, opened + seconds). Each frame has the same share of them."""
    if not token_times:
        return 0.0
    inside = sum(opened <= at < opened + seconds for at in token_times)
    return tokens * inside / len(token_times)


def share_within(started: float, ended: float, opened: float, seconds: float) -> float:
    """The share of [started, ended] that lies in the window, 0 to 1."""
    inside = min(ended, opened + seconds) - max(started, opened)
    return max(0.0, inside) / (ended - started) if ended > started else 0.0
