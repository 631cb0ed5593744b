"""The engines on Ray Serve: an application each, put up and taken down while the others serve.

An application of its own, because Ray Serve starts every deployment of an application anew when that is run again.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Any

from serve.host import Host
from serve.live import Adapter, LiveEngine
from serve.seat import Endpoint
from variants.errors import EngineError
from variants.home import home

POLL_S = 0.3
START_LIMIT_S = 900.0


def engine_target(engine: LiveEngine) -> Any:
    """What Ray Serve is to run for an engine."""
    from ray import serve as ray_serve

    host = ray_serve.deployment(
        name="host",
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=2,
    )(Host)
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

    async def describe(self, application: str, adapter: Adapter | None) -> Endpoint:
        return Endpoint(*await (await self.of(application)).describe.remote(adapter))


class Stage:
    """Used by one conductor, inside Ray."""

    def __init__(self) -> None:
        self.handles = Handles()

    async def put_up(self, engines: Collection[LiveEngine]) -> None:
        """Start engines and wait until all are ready. Raises EngineError; what was begun is still up then."""
        if not engines:
            return
        from ray import serve as ray_serve

        targets = [engine_target(engine) for engine in engines]
        await asyncio.to_thread(ray_serve.run_many, targets, wait_for_applications_running=False)
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

    async def take_down(self, applications: Iterable[str]) -> None:
        """End engines, and wait until they have ended."""
        from ray import serve as ray_serve

        for application in applications:
            self.handles.found.pop(application, None)
            await asyncio.to_thread(ray_serve.delete, application)

    async def load(self, application: str, adapter: Adapter) -> None:
        """Have an adapter in an engine that is up. Raises what the engine's host raises."""
        await self.handles.describe(application, adapter)

    async def unload(self, application: str, adapter: str) -> None:
        await (await self.handles.of(application)).unload.remote(adapter)

    async def holds(self, application: str) -> Endpoint:
        """Where an engine answers, and what it holds in memory."""
        return await self.handles.describe(application, None)

    async def standing(self) -> set[str]:
        """The names of all applications."""
        from ray import serve as ray_serve

        return set((await asyncio.to_thread(ray_serve.status)).applications)
