"""How an ingress ends: readiness goes off first, then it waits for the requests that run, then it breaks them off.

begun    not ready, so that a load balancer in front chooses another server; requests are still taken
closed   after a grace period, new requests are refused (503)
over     after the limit, open requests end with an error: a stream with an error event, others with 503
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from serve.errors import NotReady

GRACE_S = 3.0
"""Time for a load balancer to notice that this server is not ready."""
LAST_S = 6.0
"""Time limit for sending the errors that end the open requests."""
POLL_S = 0.05


class Drain:
    """The state of one ingress. `open` is its number of open requests, probes not counted."""

    def __init__(self) -> None:
        self.begun = self.closed = self.over = False
        self.open = 0
        self.limits: set[asyncio.Timeout] = set()

    def check_open(self) -> None:
        """Raises NotReady when new requests are refused."""
        if self.closed:
            raise self.fault()

    def check_not_begun(self) -> None:
        """Raises NotReady when the server is stopping."""
        if self.begun:
            raise self.fault()

    def fault(self) -> NotReady:
        return NotReady("the server is stopping", mend="try again shortly, or ask another server")

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request as open."""
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1

    @asynccontextmanager
    async def limit(self, seconds: float) -> AsyncIterator[None]:
        """A time limit for a request to an engine. Raises TimeoutError after `seconds`, or when the drain is over."""
        async with asyncio.timeout(0 if self.over else seconds) as limit:
            self.limits.add(limit)
            try:
                yield
            finally:
                self.limits.discard(limit)

    async def run(self, limit_s: float) -> int:
        """Drain within `limit_s` seconds, plus the time for the last errors. Gives the number of requests that were
        broken off."""
        end = time.monotonic() + limit_s
        self.begun = True
        await asyncio.sleep(min(GRACE_S, limit_s))
        self.closed = True
        await self.until_idle(end)
        left, self.over = self.open, True
        for limit in list(self.limits):
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())
        await self.until_idle(time.monotonic() + LAST_S)
        return left

    async def until_idle(self, end: float) -> None:
        """Wait until no request is open, at most until `end` of the monotonic clock."""
        while self.open and time.monotonic() < end:
            await asyncio.sleep(POLL_S)
