"""The whole server without Ray: ingress, controller and real engine processes in one event loop."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import uvicorn
from prometheus_client.metrics import MetricWrapperBase

from serve import metrics
from serve.api.application import build_ingress
from serve.api.request_id import IssueRequestId
from serve.config.snapshot import EngineSpec, LoadedAdapter, ServedVariant, build_snapshot
from serve.config.stack import Stack
from serve.console.application import add_console
from serve.control.controller import Controller
from serve.dataplane.upstreams import Upstreams
from serve.engines.adapter_client import load_adapter, unload_adapter
from serve.engines.endpoint import Describe, Endpoint
from serve.engines.launch import launch
from serve.engines.process import EngineProcess
from tests.support.plugins import declared
from tests.support.scripted import make_artifacts
from variants.artifacts.store import Artifact


def clear_metrics() -> None:
    """Forget what this process has counted so far: a server that starts has counted nothing."""
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            metric.clear()


class LocalStage:
    """Engines as processes of this one, where `serve.cluster.deployer.EngineDeployer` has Ray Serve's applications."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.engines: dict[str, EngineProcess] = {}
        self.adapters: dict[str, set[str]] = {}

    async def start(self, engines: Collection[EngineSpec]) -> None:
        for engine in engines:
            folder, manifest = engine.artifact.path, engine.artifact.manifest
            how = launch(engine.settings, folder, manifest, engine.name, (), engine.traces)
            process = EngineProcess(engine.name, how, self.home / f"{engine.application}.log")
            await process.start()
            self.engines[engine.application], self.adapters[engine.application] = process, set()

    async def stop(self, applications: Iterable[str]) -> None:
        for application in list(applications):
            await self.engines.pop(application).stop()

    async def load(self, application: str, adapter: LoadedAdapter) -> None:
        if adapter.name not in self.adapters[application]:
            await load_adapter(self.engines[application].url, adapter, self.engines[application].headers)
            self.adapters[application].add(adapter.name)

    async def keep_adapters(self, application: str, names: frozenset[str]) -> None:
        for adapter in self.adapters[application] - names:
            await unload_adapter(self.engines[application].url, adapter, self.engines[application].headers)
            self.adapters[application].discard(adapter)

    async def describe(self, application: str) -> Endpoint:
        engine = self.engines[application]
        engine.check()
        return Endpoint(engine.url, engine.memory_bytes(), engine.peak_memory_bytes, engine.pid, engine.secret)

    async def running(self) -> set[str]:
        return set(self.engines)

    def describe_for(self, variant: ServedVariant) -> Describe:
        async def describe(ask: bool) -> Endpoint:
            engine = self.engines[variant.engine.application]
            engine.check()
            if variant.adapter:
                await self.load(variant.engine.application, variant.adapter)
            return Endpoint(engine.url, 1, 1, engine.pid, engine.secret)

        return describe


class Local(NamedTuple):
    client: httpx.AsyncClient
    deployer: LocalStage
    upstreams: Upstreams
    controller: Controller

    def engine(self, model: str, variant: str) -> EngineProcess:
        return self.deployer.engines[self.upstreams.snapshot.variants[model, variant].engine.application]


@asynccontextmanager
async def local(
    home: Path, stack: Stack, artifacts: dict[tuple[str, str], Artifact] | None = None
) -> AsyncIterator[Local]:
    """The ingress under plain uvicorn, over real engine processes; artifacts are made where none are given.

    Every counter starts at nothing, whatever other tests of this process have counted."""
    clear_metrics()
    snapshot = build_snapshot(stack, artifacts or make_artifacts(home, stack))
    deployer = LocalStage(home)
    controller = Controller(snapshot, str(home), str(home / "state"), deployer)  # type: ignore[arg-type]
    await deployer.start(list(snapshot.engines.values()))
    upstreams = Upstreams(snapshot, deployer.describe_for)
    ingress = build_ingress(upstreams, stack.server, controller)
    add_console(ingress, lambda: upstreams.snapshot, declared("understudy.pages"))
    app = IssueRequestId(ingress, echo=True)
    server = uvicorn.Server(uvicorn.Config(app, port=stack.server.port, log_level="warning"))
    running = asyncio.create_task(server.serve())
    try:
        url = f"http://127.0.0.1:{stack.server.port}"
        async with httpx.AsyncClient(base_url=url, timeout=30) as client:
            while not (upstreams.ready and server.started):
                assert not running.done(), "the server has ended: its port was taken, or its start failed"
                await asyncio.sleep(0.05)
            yield Local(client, deployer, upstreams, controller)
    finally:
        server.should_exit = True
        await running
        await asyncio.gather(*(engine.stop() for engine in deployer.engines.values()))
