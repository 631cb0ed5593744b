"""Where large bodies are worked on: inflated, scanned, parsed, hashed and encoded.

That takes many milliseconds for a large body, and all streams of an ingress share one event loop. So one thread works
on bodies above IN_PLACE. It is one thread, because a parser keeps Python's lock for a whole body: the event loop waits
for one body at most.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
IN_PLACE = 64 * 2**10
"""Bytes: the worst body of this length takes about 2 ms to scan, parse and encode; a thread takes 0.1 ms to reach."""
worker = ThreadPoolExecutor(1, thread_name_prefix="bodies")


async def off_loop(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """The result of `work`, done in the thread for bodies."""
    return await asyncio.get_running_loop().run_in_executor(worker, lambda: work(*args, **named))


async def apart(size: int, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """The result of `work` on a body of `size` bytes: done here for a small body, else in the thread."""
    return work(*args, **named) if size <= IN_PLACE else await off_loop(work, *args, **named)
