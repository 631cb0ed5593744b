"""The Ray Serve deployment of engines: runs their processes and gives their addresses, or the reason why one is down.

No request passes through it: the ingress relays straight to the engine (docs/decisions.md). Ray Serve provides
placement and an orderly shutdown; `serve.engines.supervisor` watches and restarts each engine.

Engines that reserve nothing of Ray share one deployment, because an actor for each costs more than it does. An engine
that reserves GPUs, cores or memory has a deployment of its own, to which Ray gives them.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable

from serve.cluster.hosted_engine import HostedEngine
from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.endpoint import Endpoint, EngineDown
from serve.engines.turns import Turns
from serve.engines.warm_client import WarmedProcesses
from variants.errors import EngineError, UnderstudyError
from variants.home import home

log = logging.getLogger("understudy.engines")
HEAVY = ("torch", "vllm")
"""Kinds of engines that take seconds of processor time to start: the others start first, and answer meanwhile."""


def gpu_ids() -> tuple[str, ...]:
    """The GPUs that Ray has given to this actor, as the driver numbers them."""
    import ray

    return tuple(map(str, ray.get_gpu_ids()))


def in_order(engines: Collection[EngineSpec]) -> list[EngineSpec]:
    """In which they are started."""
    return sorted(engines, key=lambda engine: engine.settings.kind in HEAVY)


def sharing(engines: Iterable[EngineSpec]) -> list[EngineSpec]:
    """Those that share one deployment."""
    return [engine for engine in engines if engine.shares_deployment]


class EngineDeployment:
    """Ray Serve calls `__init__`, `check_health` and `__del__`; the ingress calls `describe`, the controller all else.
    Engines are named by their application."""

    async def __init__(self, engines: Collection[EngineSpec], doubted: Collection[str] = ()) -> None:  # type: ignore[misc]  # Ray awaits it
        """Begins to start the engines. `doubted` has the applications whose artifact is verified before the start."""
        self.hosted: dict[str, HostedEngine] = {}
        self.failed: dict[str, EngineDown] = {}
        self.beginning: dict[str, asyncio.Task[None]] = {}
        self.warmed = WarmedProcesses(home() / "logs")
        self.turns = Turns()
        for engine in in_order(engines):
            await self.begin(engine, engine.application in doubted)

    async def begin(self, engine: EngineSpec, doubted: bool = False) -> None:
        """Begin to start an engine, unless it is here."""
        if engine.application in self.beginning:
            return
        self.failed.pop(engine.application, None)
        gpus = gpu_ids() if engine.settings.resources.gpus else ()
        warmed = self.warmed if engine.shares_deployment else None  # for one engine it would only take memory
        try:
            hosted = self.hosted[engine.application] = HostedEngine(engine, warmed, self.turns, doubted, gpus)
        except (UnderstudyError, OSError) as error:
            message = f"the engine of {engine.name} could not be started: {error}"
            self.failed[engine.application] = EngineDown(message, why="ended")
            return
        self.beginning[engine.application] = asyncio.create_task(self.start(hosted))

    async def start(self, hosted: HostedEngine) -> None:
        await hosted.engine.warm_up()
        await hosted.supervisor.begin()

    async def tried(self) -> set[str]:
        """Those that were started, whether they are up or their first starts have failed."""
        return {name for name, hosted in self.hosted.items() if hosted.tried} | set(self.failed)

    async def running(self) -> set[str]:
        return set(self.hosted) | set(self.failed)

    async def describe(
        self, application: str, adapter: LoadedAdapter | None = None, ask: bool = False
    ) -> Endpoint | EngineDown:
        """See `HostedEngine.describe`. Gives EngineDown instead of raising it, also for an engine that is not here: Ray
        logs every error with its traceback, and ingresses ask twice a second while an engine starts."""
        try:
            return await self.of(application).describe(adapter, ask)
        except EngineDown as down:
            return down

    async def keep_adapters(self, application: str, names: frozenset[str]) -> None:
        await self.of(application).keep_adapters(names)

    def of(self, application: str) -> HostedEngine:
        if application in self.failed:
            raise self.failed[application]
        if application not in self.hosted:
            raise EngineDown(f"{application} was not started", why="starting")
        return self.hosted[application]

    async def stop(self, application: str) -> None:
        """End an engine and wait until it has ended; nothing where it is not here."""
        self.failed.pop(application, None)
        hosted, beginning = self.hosted.get(application), self.beginning.get(application)
        if hosted is not None and beginning is not None:
            beginning.cancel()
            await asyncio.wait([beginning])
            await hosted.end()
            del self.hosted[application], self.beginning[application]
            await self.warmed.close_idle()

    async def check_health(self) -> None:
        """Raises EngineError if nobody watches an engine any more. Ray then replaces this replica."""
        for application, hosted in self.hosted.items():
            if (beginning := self.beginning.get(application)) and beginning.done() and not hosted.tried:
                cause = "it was cancelled" if beginning.cancelled() else beginning.exception()
                raise EngineError(f"the start of {application} was broken off: {cause}")
            hosted.check_watched()

    async def __del__(self) -> None:
        await asyncio.gather(*map(self.stop, list(self.hosted)))
        await self.warmed.close()
