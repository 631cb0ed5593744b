"""The text of `/metrics`, made in a thread of its own, because all streams share the event loop.

Anybody may ask for it, and making it reads a file for each process. So it is made at most RATE times in KEPT_S, and
beyond that the latest text is sent again. A single scraper always gets a new one.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

KEPT_S = 1.0
"""The longest time for which a text is sent again."""
RATE = 4


class MetricsText:
    """Belongs to one event loop. `render` makes the text."""

    def __init__(self, render: Callable[[], bytes]) -> None:
        self.render = render
        self.worker = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self.begun: deque[float] = deque(maxlen=RATE)
        self.latest: asyncio.Future[bytes] | None = None

    async def read(self) -> bytes:
        """The text, at most KEPT_S old when it is asked for. Raises what `render` raises."""
        now = time.monotonic()
        often = len(self.begun) == RATE and now - self.begun[0] < KEPT_S
        if self.latest is None or not often:
            self.begun.append(now)
            self.latest = asyncio.get_running_loop().run_in_executor(self.worker, self.render)
        return await asyncio.shield(self.latest)
