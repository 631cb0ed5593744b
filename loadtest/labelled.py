"""A labelled load in one event loop, for measurements that change something on the server between two stretches of it.

Open loop: requests are sent at planned times and wait for nobody, and latency counts from the plan. Closed loop:
clients ask, wait, and ask again. Every prompt begins with a number of its own, so that none is a repeat or answered
from a prefix cache. Campaigns (`loadtest.run`) are Locust's; this one shares a loop with whoever steers the server.
"""

import asyncio
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import aiohttp

from loadtest.asks import ask
from loadtest.plan import Content, Pool
from loadtest.planner import LABEL_BIAS
from loadtest.server import bearer, token_ids
from variants.scoring import first_tokens
from variants.tasks import Task

TIMEOUT_S = 120.0
NOT_ANSWERED = 0


@dataclass(frozen=True)
class Asked:
    """One request: `planned` in seconds of `time.perf_counter`, from which `latency_s` counts; status 0 is no
    answer."""

    planned: float
    latency_s: float
    status: int


def labelled_pool(url: str, model: str, task: Task) -> Pool:
    """A text task's test examples, to be labelled by one token. Raises LoadError, ValueError for labels that share
    their first token."""
    encoded = [token_ids(url, model, label) for label in task.labels]
    return Pool(
        kind="label",
        model=model,
        task=task.name,
        contents=tuple(
            Content(example=each.id, text=str(each.input), label=each.label.strip()) for each in task.examples("test")
        ),
        max_tokens=1,
        logit_bias={str(token): LABEL_BIAS for token in first_tokens(encoded, task.labels)},
    )


class Labelled:
    """Asks a server the contents of a pool, routed. Enter and leave it in the loop that asks."""

    def __init__(self, url: str, pool: Pool) -> None:
        self.url, self.pool = url, pool
        self.numbers = itertools.count(1)

    async def __aenter__(self) -> Self:
        limits = aiohttp.TCPConnector(limit=0)
        self.session = aiohttp.ClientSession(connector=limits, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.session.close()

    async def ask(self, content: Content, planned: float) -> Asked:
        numbered = content.model_copy(update={"text": f"{next(self.numbers):06} {content.text}"})
        request = ask(self.pool, numbered, None, None)
        headers = request.headers | bearer()
        try:
            async with self.session.post(self.url + request.path, data=request.body, headers=headers) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = NOT_ANSWERED
        return Asked(planned, time.perf_counter() - planned, status)

    async def open(self, arrivals: Sequence[float], contents: Iterable[Content]) -> list[Asked]:
        """Ask at `arrivals`, ascending seconds from now; returns when all are answered, in the order planned."""
        began = time.perf_counter()
        tasks: list[asyncio.Task[Asked]] = []
        for at, content in zip(arrivals, contents, strict=False):
            await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
            tasks.append(asyncio.create_task(self.ask(content, began + at)))
        return list(await asyncio.gather(*tasks))

    async def closed(self, clients: int, seconds: float) -> list[Asked]:
        """`clients` at once for that long; what is under way then is answered."""
        ends, contents = time.perf_counter() + seconds, itertools.cycle(self.pool.contents)
        found: list[Asked] = []

        async def client() -> None:
            while (now := time.perf_counter()) < ends:
                found.append(await self.ask(next(contents), now))

        await asyncio.gather(*(client() for _ in range(clients)))
        return found
