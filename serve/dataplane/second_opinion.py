"""Asks the other arm of a rollout for each request that failed: one that fails there as well is no arm's failure.

A client may send requests that fail everywhere. A few such clients may fall unevenly on a small arm, and a sound
variant would be rolled back. So a failure counts once the other arm has answered the same request. This holds for both
arms, because failures of the parent are what a variant may have.

Few requests are asked at once, and few wait. So requests that hang cost the other arm at most `AT_ONCE` places. Where
too many wait, or the other arm has no engine, a failure is not asked. It counts as often as those of its arm that were
asked lately, and always where none was.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

from serve.dataplane.body_worker import apart
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady

AT_ONCE = 4
MOST = 64
"""Limit of requests that are asked or wait."""
LATELY = 64
BROKEN_STREAM = b'data: {"error":'
Ask = Callable[[Upstream, str, bytes, dict[str, str]], Awaitable[Reply]]


class SecondOpinion:
    """One ingress' questions. `ask` asks an engine outside its queue; `lately` has, by artifact, which failures were
    its own."""

    def __init__(self, ask: Ask, memory: Memory) -> None:
        self.ask, self.memory = ask, memory
        self.places = asyncio.Semaphore(AT_ONCE)
        self.lately: dict[str, deque[bool]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Drop the questions that have no answer yet: what they are about counts for nothing."""
        for task in list(self.tasks):
            task.cancel()

    def on(self, call: Call, other: Upstream, count: Callable[[bool], None]) -> None:
        """Call `count` with whether the failure of `call` is its own arm's, now or later."""
        assert call.upstream is not None
        lately = self.lately.setdefault(call.upstream.manifest.digest, deque(maxlen=LATELY))
        if other.endpoint is None or len(self.tasks) >= MOST or not self.memory.take(call.size):
            count(guess(lately))
        else:
            task = asyncio.create_task(self.find_out(call, other, lately, count))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def find_out(self, call: Call, other: Upstream, lately: deque[bool], count: Callable[[bool], None]) -> None:
        try:
            async with self.places:
                own = await self.answers(call, other)
        except NotReady:
            count(guess(lately))
        else:
            lately.append(own)
            count(own)
        finally:
            self.memory.give(call.size)

    async def answers(self, call: Call, other: Upstream) -> bool:
        """Whether the other arm answers the request in the time that its client had. Raises NotReady."""
        try:
            path, body = await apart(call.size, call.ask, other)
            async with asyncio.timeout(other.served.limits.timeout_s):
                reply = await self.ask(other, path, body, call.headers)
        except (ReplayFailed, TimeoutError):
            return False
        return BROKEN_STREAM not in reply.body


def guess(lately: deque[bool]) -> bool:
    """Whether a failure that is not asked counts."""
    return random.random() < (sum(lately) + 1) / (len(lately) + 1)
