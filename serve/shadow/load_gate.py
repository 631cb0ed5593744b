"""When a replay may begin: how many requests are on their way now, beside how many there usually are.

A server that is never idle would drop all replays, so it is fewer than usual that counts, and one that presses is
content with less. Nothing begins at saturation: there, the number of requests hardly falls.
"""

import asyncio

from serve.dataplane.upstreams import Upstreams

PATIENCE_S = 5.0
"""A replay that has waited for so long is pressing; where the queue is crowded, each is."""
LOOK_S = 0.02
CALM, HARDLY_CALM = 0.25, 0.75
"""The shares of the usual number of requests up to which a replay begins that takes no processor from them, and one
that presses. The first counts replays under way like requests, whose memory and caches they share: one by one is
enough where few are answered at once. Those that press may begin together."""
QUIET = 0.5
"""The same of one that takes its part, if it presses; otherwise it waits until there is no request."""
USUAL_S = 20.0
"""Over about how long the usual number is averaged."""


class LoadGate:
    """What one ingress sees of its own requests."""

    def __init__(self, upstreams: Upstreams) -> None:
        self.upstreams = upstreams
        self.usual = 0.0
        self.under_way = 0
        """Replays that have begun, or wait for their turn."""

    async def watch(self) -> None:
        """Keep the usual number of requests on their way, until cancelled."""
        while True:
            self.usual += (self.running() - self.usual) * LOOK_S / USUAL_S
            await asyncio.sleep(LOOK_S)

    def running(self) -> int:
        return sum(upstream.running + upstream.waiting for upstream in self.upstreams.all())

    def admits_low_priority(self, waited_s: float, crowded: bool) -> bool:
        """Whether a replay may begin whose engine gives way to all others."""
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
