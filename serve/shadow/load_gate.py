"""Decides when a replay may begin: the current number of requests in flight is compared with the usual number.

A server that is never idle would drop all replays, so fewer requests than usual are enough. An overdue replay is
admitted at a higher load. At saturation no replay begins, because the number of requests hardly falls.
"""

import asyncio

from serve.dataplane.upstreams import Upstreams

PATIENCE_S = 5.0
"""A replay that has waited longer is overdue. If the queue is crowded, every replay is."""
LOOK_S = 0.02
CALM, HARDLY_CALM = 0.25, 0.75
"""Limits for a low-priority replay, and for an overdue one, as shares of the usual number of requests. CALM counts
running replays like requests, because they share memory and caches. HARDLY_CALM does not, so overdue replays may run
together."""
QUIET = 0.5
"""The same for an overdue replay of normal priority. If not overdue, it waits until no request is in flight."""
USUAL_S, SAMPLE_S = 20.0, 0.2
"""Time constant of the moving average of the usual number, and the time between two of its samples. It runs in an idle
server too, so it does not look as often as a replay that waits."""


class LoadGate:
    """Counts only the requests of its own ingress."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.usual = 0.0
        self.under_way = 0
        """Replays that run, or wait for the lock."""

    async def watch(self) -> None:
        """Update the usual number of requests in flight, until cancelled."""
        while True:
            self.usual += (self.running() - self.usual) * SAMPLE_S / USUAL_S
            await asyncio.sleep(SAMPLE_S)

    def running(self) -> int:
        return sum(upstream.running + upstream.waiting for upstream in self.upstreams.all())

    def admits_low_priority(self, waited_s: float, crowded: bool) -> bool:
        """Whether a replay on an engine of low CPU priority may begin."""
        running = self.running()
        if is_overdue(waited_s, crowded):
            return running <= self.usual * HARDLY_CALM
        return running + self.under_way <= self.usual * CALM

    def admits(self, waited_s: float, crowded: bool) -> bool:
        """Whether any other replay may begin."""
        running = self.running()
        return running == 0 or (is_overdue(waited_s, crowded) and running <= self.usual * QUIET)


def is_overdue(waited_s: float, crowded: bool) -> bool:
    return waited_s > PATIENCE_S or crowded
