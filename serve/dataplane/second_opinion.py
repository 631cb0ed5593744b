"""Asks the other arm of a rollout for each request that failed: one that fails there as well is no arm's failure.

A client may send requests that fail everywhere. A few such clients may fall unevenly on a small arm, and a sound
variant would be rolled back. So a failure counts once the other arm has answered the same request. This holds for both
arms, because failures of the parent are what a variant may have.

Few requests are asked at once, and few wait, of one client as of all. So requests that hang cost the other arm at most
`AT_ONCE` places. Where too many wait, or the other arm has no engine, a failure is not asked. It counts as often as
those of its client at its arm that were asked lately, else as those of the arm, and always where none was.
"""

import asyncio
import logging
import random
from collections import Counter, OrderedDict, deque
from collections.abc import Awaitable, Callable

from serve.dataplane.body_worker import apart
from serve.dataplane.call import Call, ReplayFailed, Reply
from serve.dataplane.memory import Memory
from serve.dataplane.served import NAMELESS, Client
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady

log = logging.getLogger("understudy.accounting")
AT_ONCE = 4
MOST = 64
"""Limit of requests that are asked or wait."""
MOST_EACH = 8
"""Limit for one client with a name. Requests without one have half of the places, so that others find some."""
LATELY = 64
CLIENTS = 1024
"""Clients whose latest failures are known."""
BROKEN_STREAM = b'data: {"error":'
Ask = Callable[[Upstream, str, bytes, dict[str, str]], Awaitable[Reply]]


class SecondOpinion:
    """One ingress' questions. `ask` asks an engine outside its queue; `lately` has, by artifact and client (None: all
    of them), which failures were the artifact's own."""

    def __init__(self, ask: Ask, memory: Memory) -> None:
        self.ask, self.memory = ask, memory
        self.places = asyncio.Semaphore(AT_ONCE)
        self.lately: OrderedDict[tuple[str, Client | None], deque[bool]] = OrderedDict()
        self.open: Counter[Client] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Drop the questions that have no answer yet: what they are about counts for nothing."""
        for task in list(self.tasks):
            task.cancel()

    def on(self, call: Call, other: Upstream, count: Callable[[bool], None]) -> None:
        """Call `count` with whether the failure of `call` is its own arm's, now or later."""
        client: Client = (call.key, call.client)
        is_full = len(self.tasks) >= MOST or self.open[client] >= (MOST // 2 if client == NAMELESS else MOST_EACH)
        if other.endpoint is None or is_full or not self.memory.take(call.size):
            count(self.guess(call))
            return
        self.open[client] += 1
        task = asyncio.create_task(self.find_out(call, other, count))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def find_out(self, call: Call, other: Upstream, count: Callable[[bool], None]) -> None:
        try:
            async with self.places:
                own = await self.answers(call, other)
        except Exception as error:
            if not isinstance(error, NotReady):
                log.exception("the other arm could not be asked")
            count(self.guess(call))
        else:
            for failures in self.known(call):
                failures.append(own)
            count(own)
        finally:
            self.open -= Counter({(call.key, call.client): 1})
            self.memory.give(call.size)

    def known(self, call: Call) -> tuple[deque[bool], deque[bool]]:
        """Whether the latest failures of the request's client at this arm were the arm's own, and those of all."""
        assert call.upstream is not None
        digest = call.upstream.manifest.digest
        return self.failures_of(digest, (call.key, call.client)), self.failures_of(digest, None)

    def failures_of(self, digest: str, client: Client | None) -> deque[bool]:
        failures = self.lately.setdefault((digest, client), deque(maxlen=LATELY))
        self.lately.move_to_end((digest, client))
        if len(self.lately) > CLIENTS:
            self.lately.popitem(last=False)
        return failures

    def guess(self, call: Call) -> bool:
        """Whether a failure that is not asked counts."""
        of_client, of_all = self.known(call)
        lately = of_client or of_all
        return random.random() < (sum(lately) + 1) / (len(lately) + 1)

    async def answers(self, call: Call, other: Upstream) -> bool:
        """Whether the other arm answers the request in the time that its client had. Raises NotReady."""
        try:
            path, body = await apart(call.size, call.ask, other)
            async with asyncio.timeout(other.served.limits.timeout_s):
                reply = await self.ask(other, path, body, call.headers)
        except (ReplayFailed, TimeoutError):
            return False
        return BROKEN_STREAM not in reply.body
