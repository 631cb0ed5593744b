"""Starts and stops engines on Ray Serve while the others serve.

Engines that reserve nothing of Ray share the application `ENGINES`, whose deployment starts and stops them. Each other
engine is an application of its own: Ray Serve restarts every deployment of an application that is run again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, TypeVar

from serve.cluster.engine_deployment import EngineDeployment, in_order, sharing
from serve.config.resources import Resources
from serve.config.snapshot import EngineSpec, LoadedAdapter
from serve.engines.endpoint import Endpoint, EngineDown
from variants.errors import EngineError
from variants.home import home

INGRESS, CONTROLLER, ENGINES = "ingress", "controller", "engines"
"""The applications that are no single engine's."""
log = logging.getLogger("understudy.engines")
FAILED = ("UNHEALTHY", "DEPLOY_FAILED")
POLL_S = 0.3
START_LIMIT_S = 900.0
HOLDS_LIMIT_S = 10.0
ADAPTER_LIMIT_S = SHARED_LIMIT_S = 90.0
T = TypeVar("T")


def own_targets(engines: Collection[EngineSpec], doubted: Collection[str] = ()) -> list[Any]:
    """The Ray Serve targets of the engines that reserve something, one for each."""
    return [
        target(EngineDeployment, engine.application, engine.settings.resources, [engine], doubted)
        for engine in engines
        if not engine.shares_deployment
    ]


def target(host: type[EngineDeployment], application: str, asked: Resources, *arguments: Any) -> Any:
    """A Ray Serve target that hosts engines and reserves `asked`. `arguments` are those of `host`."""
    from ray import serve as ray_serve

    deployment = ray_serve.deployment(
        name="host",
        ray_actor_options=actor_options(asked),
        max_ongoing_requests=1000,  # a call may wait for an engine, and must not keep those of the others waiting
        health_check_period_s=2,
        graceful_shutdown_timeout_s=20,
        max_constructor_retry_count=2,
    )(host)
    return ray_serve.RunTarget(deployment.bind(*arguments), name=application, route_prefix=None)


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
        if deployment.status.value in FAILED:
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

    async def host_of(self, engine: str) -> Any:
        """Of the deployment that runs an engine, by the engine's application. Raises EngineError."""
        if engine not in self.handles:
            self.handles[engine] = await self.of(engine if engine in await recovered() else ENGINES)
        return self.handles[engine]

    async def describe(self, engine: str, adapter: LoadedAdapter | None, ask: bool = False) -> Endpoint:
        """Raises EngineDown, and the errors of the engine's deployment."""
        answer = await (await self.host_of(engine)).describe.remote(engine, adapter, ask)
        if isinstance(answer, EngineDown):
            raise answer
        return Endpoint(*answer)

    async def tried(self) -> set[str]:
        """The engines that were started, whether they are up or have failed; of deployments that answer."""
        tried = set[str]()
        for name, application in (await applications()).items():
            if name in (INGRESS, CONTROLLER):
                continue
            if application.status.value == "RUNNING":
                try:
                    async with asyncio.timeout(HOLDS_LIMIT_S):
                        tried |= await (await self.of(name)).tried.remote()
                except Exception as error:  # Ray raises many types for a replica that starts or has ended
                    log.warning("%s does not answer: %s", name, error)
            elif application.status.value in FAILED:
                tried.add(name)
        return tried


async def applications() -> dict[str, Any]:
    """Ray Serve's applications, by name."""
    from ray import serve as ray_serve

    return dict((await asyncio.to_thread(ray_serve.status)).applications)


async def recovered() -> dict[str, Any]:
    """Ray Serve's applications. Raises EngineError while it has none: it begins anew, and reads its state first. An
    engine with a deployment of its own would be taken for one of those that share one."""
    if not (by_name := await applications()):
        raise EngineError("Ray Serve does not know its applications yet", mend="wait until it has read its state")
    return by_name


class EngineDeployer:
    """Runs inside Ray, for one controller."""

    def __init__(self) -> None:
        self.handles = Handles()

    async def start(self, engines: Collection[EngineSpec]) -> None:
        """Start engines and wait until all are ready. Raises EngineError; then the started ones still run."""
        if not engines:
            return
        deploying = asyncio.create_task(self.begin(engines))
        try:
            await asyncio.shield(deploying)
        except asyncio.CancelledError:  # a deployment cannot be cancelled: the caller has to see it to stop it
            await asyncio.wait([deploying])
            raise
        deadline = time.monotonic() + START_LIMIT_S
        names = {engine.application for engine in engines}
        while time.monotonic() < deadline:
            for name, application in (await applications()).items():
                if name in names and application.status.value == "DEPLOY_FAILED":
                    raise EngineError(explain(name, application), mend=f"see the logs in {home() / 'logs'}")
            if names <= await self.handles.tried():
                for name in names:
                    await self.check_started(name)
                return
            await self.begin_again(engines)
            await asyncio.sleep(POLL_S)
        raise EngineError(f"not all of {len(engines)} engines were ready after {START_LIMIT_S:g} s")

    async def begin(self, engines: Collection[EngineSpec]) -> None:
        from ray import serve as ray_serve

        if own := own_targets(engines):
            await asyncio.to_thread(ray_serve.run_many, own, wait_for_applications_running=False)
        for engine in in_order(sharing(engines)):
            await self.shared("begin", engine)

    async def begin_again(self, engines: Collection[EngineSpec]) -> None:
        """Tell the shared deployment again of engines that it does not have: it has been replaced meanwhile."""
        if not (together := sharing(engines)):
            return
        try:
            running = await self.shared("running")
            for engine in together:
                if engine.application not in running:
                    await self.shared("begin", engine)
        except Exception as error:  # Ray raises many types for a replica that starts or has ended
            log.warning("%s does not answer: %s", ENGINES, error)

    async def check_started(self, application: str) -> None:
        """Raises EngineError if an engine is down: its deployment runs all the same."""
        try:
            await self.describe(application)
        except EngineError as error:
            cause = getattr(error, "cause", error)
            raise EngineError(f"{application} could not be started: {cause}") from None

    async def stop(self, engines: Iterable[str]) -> None:
        """Stop engines and wait until they have ended."""
        from ray import serve as ray_serve

        own = await recovered()
        for engine in engines:
            self.handles.handles.pop(engine, None)
            if engine in own:
                await asyncio.to_thread(ray_serve.delete, engine)
            else:
                await self.shared("stop", engine)

    async def load(self, application: str, adapter: LoadedAdapter) -> None:
        """Load an adapter into a running engine. Raises EngineError and the errors of the engine's deployment."""
        await in_time(application, lambda: self.handles.describe(application, adapter), ADAPTER_LIMIT_S)

    async def keep_adapters(self, application: str, names: frozenset[str]) -> None:
        """Remove all other adapters from an engine. Raises EngineError and the errors of its deployment."""

        async def keep() -> None:
            await (await self.handles.host_of(application)).keep_adapters.remote(application, names)

        await in_time(application, keep, ADAPTER_LIMIT_S)

    async def describe(self, application: str) -> Endpoint:
        """An engine's address and memory. Raises EngineError and the errors of its deployment."""
        return await in_time(application, lambda: self.handles.describe(application, None), HOLDS_LIMIT_S)

    async def running(self) -> set[str]:
        """The applications of all engines, whatever their state."""
        own = set(await recovered()) - {INGRESS, CONTROLLER, ENGINES}
        return own | await self.shared("running")

    async def shared(self, method: str, *arguments: Any) -> Any:
        """Call the deployment that engines share. Raises EngineError, and the errors of that deployment."""

        async def call() -> Any:
            return await getattr(await self.handles.of(ENGINES), method).remote(*arguments)

        return await in_time(ENGINES, call, SHARED_LIMIT_S)


async def in_time(application: str, ask: Callable[[], Awaitable[T]], limit_s: float) -> T:
    """The answer of an engine's deployment. Raises EngineError after `limit_s`.

    Without the limit, a call to a deployment without a replica waits for as long as its engine fails to start."""
    try:
        async with asyncio.timeout(limit_s):
            return await ask()
    except TimeoutError:
        raise EngineError(f"{application} did not answer within {limit_s:g} s", mend="wait for its restart") from None
