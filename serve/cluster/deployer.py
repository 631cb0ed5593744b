"""Starts and stops engines on Ray Serve, each as its own application, while the others serve.

A shared application would not do: Ray Serve restarts every deployment of an application that is run again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from serve.cluster.engine_deployment import EngineDeployment
from serve.config.resources import Resources
from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.endpoint import Endpoint
from variants.errors import EngineError
from variants.home import home

INGRESS, CONTROLLER = "ingress", "controller"
"""The applications that host no engine."""
POLL_S = 0.3
START_LIMIT_S = 900.0
HOLDS_LIMIT_S = 10.0
ADAPTER_LIMIT_S = 90.0
T = TypeVar("T")


def engine_target(engine: EngineSpec, doubted: bool = False) -> Any:
    """The Ray Serve target of an engine. `doubted`: verify its artifact before the first start."""
    from ray import serve as ray_serve

    host = ray_serve.deployment(
        name="host",
        ray_actor_options=actor_options(engine.settings.resources),
        health_check_period_s=2,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=2,
    )(EngineDeployment)
    return ray_serve.RunTarget(host.bind(engine, doubted), name=engine.application, route_prefix=None)


def actor_options(asked: Resources) -> dict[str, float]:
    """What Ray reserves for an engine. `num_cpus` is 0 unless cores are asked for: engines share them."""
    options: dict[str, float] = {"num_cpus": asked.cpus}
    if asked.gpus:
        options["num_gpus"] = asked.gpus
    if asked.memory_mib:
        options["memory"] = asked.memory_mib * 2**20
    return options


def explain(name: str, application: Any) -> str:
    """Why an application could not be deployed: the message of the first deployment that failed."""
    for deployment in application.deployments.values():
        if deployment.status.value in ("UNHEALTHY", "DEPLOY_FAILED"):
            lines = [line for line in deployment.message.splitlines() if line.strip()]
            return f"{name} could not be started: {lines[-1] if lines else deployment.status.value}"
    return f"{name} could not be started: {application.message}"


class Handles:
    """Handles to Ray Serve applications, looked up at first use."""

    def __init__(self) -> None:
        self.handles: dict[str, Any] = {}

    async def of(self, application: str) -> Any:
        """Raises the error of Ray Serve if there is no such application."""
        if application not in self.handles:
            from ray import serve as ray_serve

            # The call blocks on Serve's controller, so it must not run on the event loop.
            self.handles[application] = await asyncio.to_thread(ray_serve.get_app_handle, application)
        return self.handles[application]

    async def describe(self, application: str, adapter: LoadedAdapter | None, ask: bool = False) -> Endpoint:
        return Endpoint(*await (await self.of(application)).describe.remote(adapter, ask))


class EngineDeployer:
    """Runs inside Ray, for one controller."""

    def __init__(self) -> None:
        self.handles = Handles()

    async def start(self, engines: Collection[EngineSpec]) -> None:
        """Start engines and wait until all are ready. Raises EngineError; then the started ones still run."""
        if not engines:
            return
        from ray import serve as ray_serve

        targets = [engine_target(engine) for engine in engines]
        deploying = asyncio.create_task(
            asyncio.to_thread(ray_serve.run_many, targets, wait_for_applications_running=False)
        )
        try:
            await asyncio.shield(deploying)
        except asyncio.CancelledError:  # a deployment cannot be cancelled: the caller has to see it to stop it
            await asyncio.wait([deploying])
            raise
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            applications = (await asyncio.to_thread(ray_serve.status)).applications
            names = [engine.application for engine in engines if engine.application in applications]
            for name in names:
                if applications[name].status.value == "DEPLOY_FAILED":
                    raise EngineError(explain(name, applications[name]), mend=f"see the logs in {home() / 'logs'}")
            if len(names) == len(engines) and all(applications[name].status.value == "RUNNING" for name in names):
                for name in names:
                    await self.check_started(name)
                return
            await asyncio.sleep(POLL_S)
        raise EngineError(f"not all of {len(engines)} engines were ready after {START_LIMIT_S:g} s")

    async def check_started(self, application: str) -> None:
        """Raises EngineError if an engine is down: its deployment runs all the same."""
        try:
            await self.describe(application)
        except EngineError as error:
            cause = getattr(error, "cause", error)
            raise EngineError(f"{application} could not be started: {cause}") from None

    async def stop(self, applications: Iterable[str]) -> None:
        """Stop engines and wait until they have ended."""
        from ray import serve as ray_serve

        for application in applications:
            self.handles.handles.pop(application, None)
            await asyncio.to_thread(ray_serve.delete, application)

    async def load(self, application: str, adapter: LoadedAdapter) -> None:
        """Load an adapter into a running engine. Raises EngineError and the errors of the engine's deployment."""
        await in_time(application, lambda: self.handles.describe(application, adapter), ADAPTER_LIMIT_S)

    async def keep_adapters(self, application: str, names: frozenset[str]) -> None:
        """Remove all other adapters from an engine. Raises EngineError and the errors of its deployment."""

        async def keep() -> None:
            await (await self.handles.of(application)).keep_adapters.remote(names)

        await in_time(application, keep, ADAPTER_LIMIT_S)

    async def describe(self, application: str) -> Endpoint:
        """An engine's address and memory. Raises EngineError and the errors of its deployment."""
        return await in_time(application, lambda: self.handles.describe(application, None), HOLDS_LIMIT_S)

    async def running(self) -> set[str]:
        """The applications of all engines, whatever their state."""
        from ray import serve as ray_serve

        return set((await asyncio.to_thread(ray_serve.status)).applications) - {INGRESS, CONTROLLER}


async def in_time(application: str, ask: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """The answer of an engine's deployment. Raises EngineError after `limit_s`.

    Without the limit, a call to a deployment without a replica waits for as long as its engine fails to start."""
    try:
        async with asyncio.timeout(limit_s):
            return await ask()
    except TimeoutError:
        raise EngineError(f"{application} did not answer within {limit_s:g} s", mend="wait for its restart") from None
