"""Turns for engines that start: as many at a time as there are cores.

More would share the cores and all be ready later. A start that takes long gives its turn up, so that an engine that
hangs does not keep the others waiting.
"""

import asyncio
import os
from collections.abc import Coroutine

TURN_S = 60.0


class Turns:
    """Those of one process. Requires a running event loop for `run` only."""

    def __init__(self, count: int | None = None, turn_s: float = TURN_S) -> None:
        """`count` at a time, by default one for each core. A turn lasts at most `turn_s` seconds."""
        self.free, self.turn_s = asyncio.Semaphore(count or os.cpu_count() or 1), turn_s

    async def run(self, start: Coroutine[None, None, None]) -> None:
        """Await `start` when its turn has come. Raises what it raises; a cancelled caller cancels it."""
        begun: asyncio.Task[None] | None = None
        try:
            async with self.free:
                begun = asyncio.create_task(start)
                await asyncio.wait([begun], timeout=self.turn_s)
            await begun
        except asyncio.CancelledError:
            if begun is None:
                start.close()
            else:
                begun.cancel()
                await asyncio.wait([begun])
            raise
