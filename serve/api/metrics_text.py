"""The text of `/metrics`, made in a thread of its own, because all streams share the event loop.

Anybody may ask for it, and making it reads a file for each process. So it is made at most once in GAP_S. Who asks
earlier waits for the next one, which all who wait share. A text is never older than the question.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

GAP_S = 0.25


class MetricsText:
    """Belongs to one event loop. `render` makes the text."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self.render = render
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self.begun = float("-inf")
        self.next: asyncio.Task[bytes] | None = None

    async def read(self) -> bytes:
        """The text. Raises what `render` raises."""
        if self.next is None:
            self.next = asyncio.create_task(self.make())
        return await asyncio.shield(self.next)

    async def make(self) -> bytes:
        await asyncio.sleep(max(0.0, self.begun + GAP_S - time.monotonic()))
        self.begun, self.next = time.monotonic(), None
        return await asyncio.get_running_loop().run_in_executor(self.worker, self.render)
