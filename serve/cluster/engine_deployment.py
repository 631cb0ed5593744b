"""The deployment of one engine: hosts its process, says where it answers, and tells Ray when it has died or hangs.

No request passes through here: the ingress relays straight to the engine (docs/decisions.md). What Ray Serve gives is
placement, restarts, and an orderly end.
"""

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path

from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.adapter_client import load_adapter, unload_adapter
from serve.engines.endpoint import Endpoint
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from variants.artifacts.store import hold
from variants.errors import EngineError
from variants.home import home

MEMORY_EVERY_S = 10.0
"""Reading a process tree's PSS walks its page tables: some ten milliseconds for a large engine."""


class EngineDeployment:
    """Ray Serve calls `__init__`, `check_health` and `__del__`; the ingress calls `describe`, the controller
    `keep_adapters`."""

    async def __init__(self, engine: EngineSpec) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
        # By application: the engine that is to replace another must not write over that one's log.
        self.engine = EngineProcess(engine.name, how, home() / "logs" / f"{engine.application}.log")
        self.memory_bytes, self.measured = 0, float("-inf")
        self.fault: EngineError | None = None
        self.adapters: dict[str, ExitStack] = {}
        self.loading = asyncio.Lock()
        await self.engine.start()

    async def check_health(self) -> None:
        """Raises EngineError when the engine has died or does not answer; Ray starts this anew after three in a row."""
        try:
            await self.engine.check_answers()
        except EngineError as error:
            self.fault = error
            raise
        self.fault = None

    async def describe(self, adapter: LoadedAdapter | None = None) -> Endpoint:
        """Where the engine answers and what it holds in memory; `adapter` is in it by then, after a restart too.

        Raises EngineError when the engine has died or hangs, or refuses the adapter.
        """
        self.engine.check()
        if self.fault is not None:  # routed around from the first failure on, not only once Ray has restarted it
            raise self.fault
        if adapter is not None:
            await self.load(adapter)
        if time.monotonic() - self.measured > MEMORY_EVERY_S:
            self.measured = time.monotonic()
            self.memory_bytes = await asyncio.to_thread(self.engine.memory_bytes)
        return Endpoint(self.engine.url, self.memory_bytes, self.engine.peak_memory_bytes, self.engine.pid)

    async def load(self, adapter: LoadedAdapter) -> None:
        async with self.loading:
            if adapter.name not in self.adapters:
                with ExitStack() as held:
                    held.enter_context(hold(Path(adapter.folder).parent))  # its files are needed again after a restart
                    await load_adapter(self.engine.url, adapter)
                    self.adapters[adapter.name] = held.pop_all()
                self.measured = float("-inf")

    async def keep_adapters(self, names: frozenset[str]) -> None:
        """Take all other adapters out. Raises EngineError."""
        async with self.loading:
            for name in set(self.adapters) - names:
                await unload_adapter(self.engine.url, name)
                self.adapters.pop(name).close()

    async def __del__(self) -> None:
        await self.engine.stop()
