"""The places at one engine, and the queue for them, shared among API keys and clients.

A request has up to two holders: its API key, and its client below that key. While nobody else waits, one holder may use
everything. While others wait, it gets at most its share:

- A free place goes first to a request whose holders have less than their share of the places. Among equals, the holder
  whose latest turn was longest ago is next, and then the request that came first.
- A request that finds the queue full takes the position of the latest request whose holders have more than their share
  of the queue. That one is refused.

Requests without a key and without a client have one holder together.
"""

import asyncio
import math
import statistics
import time
from collections import Counter, deque
from dataclasses import dataclass

Holders = tuple[str, ...]
MOST_RETRY_S = 60
REMEMBERED = 32
"""So many completed requests give the queue's speed."""


class QueueFull(Exception):
    """There is no position in the queue for this request, or no longer."""


def holders_of(key: str | None, client: str | None) -> Holders:
    """The key, and the client of that key."""
    return (f"client {client or ''}",) if key is None else (f"key {key}", f"client {key} {client or ''}")


@dataclass(eq=False)
class Waiter:
    holders: Holders
    turn: asyncio.Future[None]


class FairQueue:
    """`places` requests run at once, and `queue` more wait. `share` is of both, above 0 and at most 1.

    Waiting requires a running event loop, and all calls come from its thread."""

    def __init__(self, places: int, queue: int, share: float) -> None:
        self.free, self.queue = places, queue
        self.most_running, self.most_waiting = max(1, int(places * share)), max(1, int(queue * share))
        self.waiters: list[Waiter] = []
        self.running_of: Counter[str] = Counter()
        self.waiting_of: Counter[str] = Counter()
        self.turns, self.latest_turn = 0, dict[str, int]()
        self.gaps_s: deque[float] = deque(maxlen=REMEMBERED)
        self.since = time.monotonic()

    async def acquire(self, holders: Holders = ()) -> None:
        """Wait for a place. Raises QueueFull at once, or later if the request must leave the queue for another."""
        if self.free:
            self.take(holders)
            return
        self.make_room(holders)
        if not self.waiters:
            self.since = time.monotonic()
        waiter = Waiter(holders, asyncio.get_running_loop().create_future())
        self.waiters.append(waiter)
        self.waiting_of.update(holders)
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self.waiters:
                self.leave(waiter)
            elif waiter.turn.exception() is None:  # it had got a place
                self.release(holders)
            raise

    def take(self, holders: Holders) -> None:
        self.free -= 1
        self.turns += 1
        self.running_of.update(holders)
        self.latest_turn.update(dict.fromkeys(holders, self.turns))

    def release(self, holders: Holders = ()) -> None:
        """Give a place back. It goes to a request that waits."""
        self.free += 1
        self.subtract(self.running_of, holders)
        waiters = [waiter for waiter in self.waiters if not waiter.turn.done()]  # a cancelled one is about to leave
        if not waiters:
            return
        now = time.monotonic()
        self.gaps_s.append(now - self.since)
        self.since = now
        waiter = min(waiters, key=self.order)  # the first of equals, which has waited longest
        self.take(waiter.holders)
        self.leave(waiter)
        waiter.turn.set_result(None)

    def order(self, waiter: Waiter) -> tuple[int, ...]:
        """Who is next: the smallest."""
        over = above(self.running_of, waiter.holders, self.most_running - 1)
        return over, *(self.latest_turn.get(holder, 0) for holder in waiter.holders)

    def make_room(self, holders: Holders) -> None:
        """Raises QueueFull if the queue is full, and no request in it has less right to wait."""
        waiters = [waiter for waiter in self.waiters if not waiter.turn.done()]
        if len(waiters) < self.queue:
            return
        mine = above(self.waiting_of, holders, self.most_waiting - 1)
        over = [above(self.waiting_of, waiter.holders, self.most_waiting) for waiter in waiters]
        most = max(over, default=0)
        if most <= mine:
            raise QueueFull
        latest = next(waiter for waiter, each in zip(reversed(waiters), reversed(over), strict=True) if each == most)
        self.leave(latest)
        latest.turn.set_exception(QueueFull())

    def leave(self, waiter: Waiter) -> None:
        self.waiters.remove(waiter)
        self.subtract(self.waiting_of, waiter.holders)

    def subtract(self, counts: Counter[str], holders: Holders) -> None:
        """Forgets a holder that has nothing left: clients name themselves, so there may be any number of them."""
        for holder in holders:
            counts[holder] -= 1
            if counts[holder] <= 0:
                del counts[holder]
            if holder not in self.running_of and holder not in self.waiting_of:
                self.latest_turn.pop(holder, None)

    def retry_after_s(self) -> int:
        """The seconds that the present queue takes at the speed of the latest completed requests: 1 to 60.

        The time since the latest one counts where it is longer, so that an engine that hangs is not a fast one."""
        open_gap_s = time.monotonic() - self.since
        mean_s = statistics.fmean(self.gaps_s or [open_gap_s])
        if open_gap_s > mean_s:
            mean_s = statistics.fmean([*self.gaps_s, open_gap_s])
        return min(MOST_RETRY_S, max(1, math.ceil(len(self.waiters) * mean_s)))


def above(counts: Counter[str], holders: Holders, most: int) -> int:
    """How many of the holders have more than `most`."""
    return sum(counts[holder] > most for holder in holders)
