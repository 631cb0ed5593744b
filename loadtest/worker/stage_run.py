"""One stage while it runs: who sends what next, and what of it falls in the slice's window. No network, no
Locust.

How the edges of a slice are dealt with: clients begin spread over the lead-in and keep asking until the
window closes; requests that are under way then run to their end, and no new ones begin. A token counts for
the slice when its frame came inside the window, wherever its request began or ended. A request counts with
the share of its life that lies inside. So nothing is rounded to whole requests, which are few in a slice,
and neither the start of an idle engine nor its running empty is in the figures.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from loadtest.campaign.plan import Content, Lane, Plan, Pool, Stage

MOST_FAILURES_IN_A_ROW = 20


class StageError(Exception):
    """The stage cannot go on; the message says why."""


@dataclass
class Turn:
    """One request to send: `planned` is its time on the stage's clock, or None in a closed loop."""

    pool: Pool
    content: Content
    variant: str | None
    client: str | None
    planned: float | None


class Cursor:
    """One variant's way through a pool. Kept over the stages of a campaign, so that prompts are not asked
    twice.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._next = 0

    def take(self, lane: Lane) -> Content | None:
        """The next content, None after the last where the lane stops there. Raises StageError where it
        refuses.
        """
        size = len(self._pool.contents)
        if self._next >= size and lane.at_end != "again":
            if lane.at_end == "stop":
                return None
            raise StageError(f"all {size} prompts for {lane.variant} are used up: shorten the slices")
        content = self._pool.contents[self._next % size]
        self._next += 1
        return content


@dataclass
class StageRun:
    """The live side of a `Stage`. `clock` gives seconds, monotonic; `began` is when its gate opened, on
    that clock.
    """

    plan: Plan
    stage: Stage
    cursors: dict[tuple[str, str], Cursor]
    clock: Callable[[], float] = time.perf_counter
    began: float = 0.0
    done: int = 0
    failures_in_a_row: int = 0
    last_error: str = ""
    _clients: Iterator[tuple[Lane, float]] = field(init=False)
    _next_arrival: int = 0

    def __post_init__(self) -> None:
        self._clients = iter(self._spread())

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

    def next_client(self) -> tuple[Lane, float]:
        """A closed-loop client's lane and how long after the gate it begins. Each client is given once."""
        return next(self._clients)

    def _spread(self) -> Iterator[tuple[Lane, float]]:
        lead_in = self.stage.window.lead_in_s if self.stage.window else 0.0
        for lane in self.stage.lanes:
            for index in range(lane.clients):
                yield lane, lead_in * index / lane.clients

    def next_arrival(self) -> Turn | None:
        """The earliest planned request that nobody has taken, None after the last."""
        if self._next_arrival >= len(self.stage.arrivals):
            return None
        arrival = self.stage.arrivals[self._next_arrival]
        self._next_arrival += 1
        pool = self.plan.pools[arrival.pool]
        return Turn(pool, pool.contents[arrival.content], None, arrival.client, self.began + arrival.at_s)

    def next_in(self, lane: Lane) -> Turn | None:
        """The lane's next request, None when it is over. Raises StageError when prompts have run out."""
        if self.closes is not None and self.clock() >= self.closes:
            return None
        pool = self.plan.pools[lane.pool]
        cursor = self.cursors.setdefault((lane.pool, lane.variant), Cursor(pool))
        content = cursor.take(lane)
        return None if content is None else Turn(pool, content, lane.variant, None, None)

    def note(self, error: str | None) -> None:
        """Count one request's end. Raises StageError when one failure has followed the other too often."""
        self.done += 1
        self.failures_in_a_row = 0 if error is None else self.failures_in_a_row + 1
        self.last_error = error or self.last_error
        if self.failures_in_a_row >= MOST_FAILURES_IN_A_ROW:
            raise StageError(f"{self.failures_in_a_row} requests in a row failed; the last: {self.last_error}")

    def progress(self) -> tuple[float, float, float]:
        """(done, of, seconds left): seconds of the window or of the arrivals, else requests."""
        elapsed = self.clock() - self.began
        if self.stage.window is not None or self.stage.arrivals:
            expected = self.stage.expected_s
            return min(elapsed, expected), expected, max(0.0, expected - elapsed)
        total = sum(len(self.plan.pools[lane.pool].contents) for lane in self.stage.lanes)
        # The first few answers say little about the pace.
        sure = self.done >= 0.05 * total
        left = elapsed * (total - self.done) / self.done if sure else self.stage.expected_s - elapsed
        return self.done, total, max(0.0, left)


def tokens_within(token_times: list[float], tokens: int, opened: float, seconds: float) -> float:
    """How many of `tokens` came in [opened, opened + seconds): each frame carries the same share of them."""
    if not token_times:
        return 0.0
    inside = sum(opened <= at < opened + seconds for at in token_times)
    return tokens * inside / len(token_times)


def share_within(started: float, ended: float, opened: float, seconds: float) -> float:
    """Which part of [started, ended] lies in the window, 0 to 1."""
    inside = min(ended, opened + seconds) - max(started, opened)
    return max(0.0, inside) / (ended - started) if ended > started else 0.0
