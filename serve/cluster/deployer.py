"""The engines on Ray Serve: an application each, put up and taken down while the others serve.

An application of its own, because Ray Serve starts every deployment of an application anew when that is run again.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from serve.cluster.engine_deployment import EngineDeployment
from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.endpoint import Endpoint
from variants.errors import EngineError
from variants.home import home

INGRESS, CONTROLLER = "ingress", "controller"
"""The applications that are no engine's."""
POLL_S = 0.3
START_LIMIT_S = 900.0
HOLDS_LIMIT_S = 10.0
ADAPTER_LIMIT_S = 90.0
T = TypeVar("T")


def engine_target(engine: EngineSpec) -> Any:
    """What Ray Serve is to run for an engine."""
    from ray import serve as ray_serve

    host = ray_serve.deployment(
        name="host",
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=2,
    )(EngineDeployment)
    return ray_serve.RunTarget(host.bind(engine), name=engine.application, route_prefix=None)


def explain(name: str, application: Any) -> str:
    """Why an application could not be deployed, in the words of the first deployment that failed."""
    for found in application.deployments.values():
        if found.status.value in ("UNHEALTHY", "DEPLOY_FAILED"):
            lines = [line for line in found.message.splitlines() if line.strip()]
            return f"{name} could not be started: {lines[-1] if lines else found.status.value}"
    return f"{name} could not be started: {application.message}"


class Handles:
    """Handles to the hosts of engines, looked up when first asked for."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    async def of(self, application: str) -> Any:
        """Raises what Ray Serve raises where there is no such application."""
        if application not in self.found:
            from ray import serve as ray_serve

            # It asks Serve's controller and waits: not on the event loop.
            self.found[application] = await asyncio.to_thread(ray_serve.get_app_handle, application)
        return self.found[application]

    async def describe(self, application: str, adapter: LoadedAdapter | None) -> Endpoint:
        return Endpoint(*await (await self.of(application)).describe.remote(adapter))


class EngineDeployer:
    """Used by one controller, inside Ray."""

    def __init__(self) -> None:
        self.handles = Handles()

    async def start(self, engines: Collection[EngineSpec]) -> None:
        """Start engines and wait until all are ready. Raises EngineError; what was begun is still up then."""
        if not engines:
            return
        from ray import serve as ray_serve

        targets = [engine_target(engine) for engine in engines]
        deploying = asyncio.create_task(
            asyncio.to_thread(ray_serve.run_many, targets, wait_for_applications_running=False)
        )
        try:
            await asyncio.shield(deploying)
        except asyncio.CancelledError:  # what is being deployed cannot be called back: whoever takes it down sees it
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
                return
            await asyncio.sleep(POLL_S)
        raise EngineError(f"not all of {len(engines)} engines were ready after {START_LIMIT_S:g} s")

    async def stop(self, applications: Iterable[str]) -> None:
        """End engines, and wait until they have ended."""
        from ray import serve as ray_serve

        for application in applications:
            self.handles.found.pop(application, None)
            await asyncio.to_thread(ray_serve.delete, application)

    async def load(self, application: str, adapter: LoadedAdapter) -> None:
        """Have an adapter in an engine that is up. Raises what the engine's host raises, EngineError."""
        await in_time(application, lambda: self.handles.describe(application, adapter), ADAPTER_LIMIT_S)

    async def keep_adapters(self, application: str, names: frozenset[str]) -> None:
        """Take all other adapters out of an engine. Raises what the engine's host raises, EngineError."""

        async def keep() -> None:
            await (await self.handles.of(application)).keep_adapters.remote(names)

        await in_time(application, keep, ADAPTER_LIMIT_S)

    async def describe(self, application: str) -> Endpoint:
        """Where an engine answers, and what it holds in memory. Raises what the engine's host raises, EngineError."""
        return await in_time(application, lambda: self.handles.describe(application, None), HOLDS_LIMIT_S)

    async def running(self) -> set[str]:
        """The applications of engines that are there, whatever their state."""
        from ray import serve as ray_serve

        return set((await asyncio.to_thread(ray_serve.status)).applications) - {INGRESS, CONTROLLER}


async def in_time(application: str, ask: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """What a host answers. EngineError where it does not in time: one that has no replica would be waited for as long
    as its engine fails to start."""
    try:
        async with asyncio.timeout(limit_s):
            return await ask()
    except TimeoutError:
        raise EngineError(f"{application} did not answer within {limit_s:g} s", mend="is it being restarted?") from None
