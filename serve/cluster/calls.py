"""Calls to deployments from the process that started Ray. Handles need an event loop that runs, so this has one."""

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from serve.cluster.deployer import Handles

T = TypeVar("T")


class Calls:
    """An event loop in a thread of its own, and handles for it."""

    def __init__(self) -> None:
        self.handles = Handles()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="calls", daemon=True)
        self.thread.start()

    def submit(self, call: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(call, self.loop)

    async def drain(self, application: str, limit_s: float) -> int:
        """Drain an ingress: see `serve.dataplane.drain`."""
        return int(await (await self.handles.of(application)).drain.remote(limit_s))

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
