"""The Ray Serve deployment of one engine: runs its process, gives its address, and reports its failures to Ray.

No request passes through it: the ingress relays straight to the engine (docs/decisions.md). Ray Serve provides
placement, restarts and an orderly shutdown.
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
"""Reading the PSS of a process tree walks its page tables: some ten milliseconds for a large engine."""


class EngineDeployment:
    """Ray Serve calls `__init__`, `check_health` and `__del__`; the ingress calls `describe`, the controller
    `keep_adapters`."""

    async def __init__(self, engine: EngineSpec) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
        # Named by application, so that an engine does not overwrite the log of the one it replaces.
        self.engine = EngineProcess(engine.name, how, home() / "logs" / f"{engine.application}.log")
        self.memory_bytes, self.measured = 0, float("-inf")
        self.fault: EngineError | None = None
        self.adapters: dict[str, ExitStack] = {}
        self.loading = asyncio.Lock()
        await self.engine.start()

    async def check_health(self) -> None:
        """Raises EngineError if the engine has died or does not answer. Ray restarts this after three in a row."""
        try:
            await self.engine.check_answers()
        except EngineError as error:
            self.fault = error
            raise
        self.fault = None

    async def describe(self, adapter: LoadedAdapter | None = None) -> Endpoint:
        """The engine's address and memory. Loads `adapter` first if it is not loaded, also after a restart.

        Raises EngineError if the engine has died, hangs, or refuses the adapter.
        """
        self.engine.check()
        if self.fault is not None:  # so the ingress avoids it from the first failure on
            raise self.fault
        if adapter is not None:
            await self.load(adapter)
        if time.monotonic() - self.measured > MEMORY_EVERY_S:
            self.measured = time.monotonic()
            self.memory_bytes = await asyncio.to_thread(self.engine.memory_bytes)
        engine = self.engine
        return Endpoint(engine.url, self.memory_bytes, engine.peak_memory_bytes, engine.pid, engine.secret)

    async def load(self, adapter: LoadedAdapter) -> None:
        async with self.loading:
            if adapter.name not in self.adapters:
                with ExitStack() as held:
                    held.enter_context(hold(Path(adapter.folder).parent))  # a restart needs its files again
                    await load_adapter(self.engine.url, adapter, self.engine.headers)
                    self.adapters[adapter.name] = held.pop_all()
                self.measured = float("-inf")

    async def keep_adapters(self, names: frozenset[str]) -> None:
        """Remove all other adapters. Raises EngineError."""
        async with self.loading:
            for name in set(self.adapters) - names:
                await unload_adapter(self.engine.url, name, self.engine.headers)
                self.adapters.pop(name).close()

    async def __del__(self) -> None:
        await self.engine.stop()
