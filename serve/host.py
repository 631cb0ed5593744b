"""The deployment of one variant: hosts its engine process, says where it answers, and tells Ray when it has died or
hangs.

No request passes through here: the ingress relays straight to the engine (docs/decisions.md). What Ray Serve gives is
placement, restarts, and an orderly end.
"""

import asyncio
import time
from pathlib import Path

from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from serve.fleet import Endpoint
from serve.stack import Engine
from variants.errors import EngineError
from variants.home import home
from variants.manifest import Manifest

MEMORY_EVERY_S = 10.0
"""Reading a process tree's PSS walks its page tables: some ten milliseconds for a large engine."""


class Host:
    """Ray Serve calls `__init__`, `check_health` and `__del__`; the ingress calls `describe`."""

    async def __init__(  # type: ignore[misc]  # Ray Serve awaits a deployment's constructor
        self, name: str, engine: Engine, folder: str, manifest: Manifest
    ) -> None:
        self.engine = EngineProcess(name, launch(engine, Path(folder), manifest, name), home() / "logs" / f"{name}.log")
        self.memory_bytes, self.measured = 0, float("-inf")
        self.fault: EngineError | None = None
        await self.engine.start()

    async def check_health(self) -> None:
        """Raises EngineError when the engine has died or does not answer; Ray starts this anew after three in a row."""
        try:
            await self.engine.check_answers()
        except EngineError as error:
            self.fault = error
            raise
        self.fault = None

    async def describe(self) -> Endpoint:
        """Where the engine answers and what it holds in memory. Raises EngineError when it has died or hangs."""
        self.engine.check()
        if self.fault is not None:  # routed around from the first failure on, not only once Ray has restarted it
            raise self.fault
        if time.monotonic() - self.measured > MEMORY_EVERY_S:
            self.measured = time.monotonic()
            self.memory_bytes = await asyncio.to_thread(self.engine.memory_bytes)
        return Endpoint(self.engine.url, self.memory_bytes, self.engine.peak_memory_bytes)

    async def __del__(self) -> None:
        await self.engine.stop()
