"""One engine of a deployment: its process, who watches it, its figures, and its adapters."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from serve.cluster.figures_reader import FiguresReader
from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.adapter_client import load_adapter, unload_adapter
from serve.engines.endpoint import Endpoint
from serve.engines.figures import KINDS, Figures
from serve.engines.launch import launch
from serve.engines.probe import probe_of
from serve.engines.process import EngineProcess
from serve.engines.refused import Refused
from serve.engines.supervisor import Supervisor
from serve.engines.turns import Turns
from serve.engines.warm_client import WarmedProcesses
from variants.artifacts.store import hold, open_artifact
from variants.errors import EngineError
from variants.home import home

MEMORY_EVERY_S = 30.0
"""Reading the PSS of a process tree walks its page tables: some ten milliseconds for a large engine."""


class HostedEngine:
    """Begin it before all else. `doubted`: its artifact was damaged lately, so it is verified before the start."""

    def __init__(
        self,
        engine: EngineSpec,
        warmed: WarmedProcesses | None,
        turns: Turns,
        doubted: bool = False,
        gpu_ids: Sequence[str] = (),
    ) -> None:
        manifest, folder = engine.artifact.manifest, engine.artifact.path
        how = launch(engine.settings, folder, manifest, engine.name, gpu_ids, engine.traces)
        # Named by application, so that an engine does not overwrite the log of the one it replaces.
        self.engine = EngineProcess(engine.name, how, home() / "logs" / f"{engine.application}.log", warmed)
        self.figures = FiguresReader(self.engine) if engine.settings.kind in KINDS else None
        self.memory_bytes, self.measured = 0, float("-inf")
        self.adapters: dict[str, ExitStack] = {}
        self.refused = Refused()
        self.loading = asyncio.Lock()
        self.supervisor = Supervisor(
            self.engine,
            probe_of(manifest, engine.name),
            verify=lambda: open_artifact(folder),
            doubted=doubted,
            restarted=self.forget_adapters,
            turns=turns,
        )

    @property
    def tried(self) -> bool:
        """Whether it is up, or its first starts have failed: then it is tried again later."""
        return self.supervisor.task is not None

    def check_watched(self) -> None:
        """Raises EngineError if nobody watches the engine any more."""
        if self.supervisor.task is not None and self.supervisor.task.done():
            raise EngineError(f"nobody watches the engine of {self.engine.name}")

    async def describe(self, adapter: LoadedAdapter | None = None, ask: bool = False) -> Endpoint:
        """The engine's address and memory. Loads `adapter` first if it is not loaded, also after a restart. With `ask`,
        the engine has to answer a test request first.

        Raises IntegrityError for a damaged adapter. Raises EngineDown if the engine has died, hangs or answers wrongly,
        or refuses the adapter, which is then tried again after growing pauses.
        """
        self.supervisor.check()
        if ask:
            await self.supervisor.ask()
        if adapter is not None:
            await self.load(adapter)
        if time.monotonic() - self.measured > MEMORY_EVERY_S:
            self.measured = time.monotonic()
            self.memory_bytes = await asyncio.to_thread(self.engine.memory_bytes)
        engine, restarts = self.engine, self.supervisor.restarts
        figures = self.figures.take() if self.figures else Figures()
        return Endpoint(
            engine.url, self.memory_bytes, engine.peak_memory_bytes, engine.pid, engine.secret, restarts, figures
        )

    async def load(self, adapter: LoadedAdapter) -> None:
        async with self.loading:
            if adapter.name not in self.adapters:
                self.refused.check(adapter.name)
                with ExitStack() as held:
                    folder = Path(adapter.folder).parent
                    held.enter_context(hold(folder))  # a restart needs its files again
                    await asyncio.to_thread(open_artifact, folder)
                    try:
                        await load_adapter(self.engine.url, adapter, self.engine.headers)
                    except EngineError as error:
                        raise self.refused.note(adapter.name, error) from error
                    self.refused.forget(adapter.name)
                    self.adapters[adapter.name] = held.pop_all()
                self.measured = float("-inf")

    def forget_adapters(self) -> None:
        """The engine has started anew, without adapters."""
        self.refused.forget()
        while self.adapters:
            self.adapters.popitem()[1].close()
        self.measured = float("-inf")

    async def keep_adapters(self, names: frozenset[str]) -> None:
        """Remove all other adapters. Raises EngineError."""
        async with self.loading:
            for name in set(self.adapters) - names:
                await unload_adapter(self.engine.url, name, self.engine.headers)
                self.adapters.pop(name).close()

    async def end(self) -> None:
        if self.figures:
            await self.figures.end()
        await self.supervisor.end()
        self.forget_adapters()
