"""Builds the Ray Serve applications of a stack and runs them on a separate Ray cluster.

It does not disturb another Ray on the machine: ports are free ones, files are in a folder of this run, and leaving the
`Cluster` ends only what entering it started. Functions import Ray late, because Ray reads its settings at import.
"""

import io
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Collection, Mapping
from contextlib import redirect_stdout, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from starlette.applications import Starlette

from serve.api.application import build_ingress
from serve.client.readiness import readiness_of
from serve.cluster.calls import Calls
from serve.cluster.deployer import (
    ADAPTER_LIMIT_S,
    CONTROLLER,
    ENGINES,
    INGRESS,
    Handles,
    explain,
    own_targets,
    target,
)
from serve.cluster.engine_deployment import EngineDeployment, sharing
from serve.cluster.ray_environment import ray_environment
from serve.config.lineage import VariantRef
from serve.config.placement import check_gpus_free, check_resources, gpus_for
from serve.config.resources import NOTHING
from serve.config.server.settings import Server
from serve.config.snapshot import EngineSpec, ServedVariant, Snapshot, build_snapshot
from serve.config.stack import Stack
from serve.console.application import add_console
from serve.control.client import RayControllerClient
from serve.control.contract import ControllerClient
from serve.control.controller import Controller
from serve.control.records.declared import check_declared
from serve.control.snapshot_file import LIVE, recorded
from serve.dataplane.drain import LAST_S
from serve.dataplane.upstreams import Upstreams
from serve.engines.endpoint import Describe
from serve.logs import write_to
from serve.ports import free_port, short_folder
from variants.artifacts.store import Artifact
from variants.errors import EngineError, StackError, UnderstudyError
from variants.home import home
from variants.machine import describe
from variants.progress import Progress

POLL_S = 0.1
STARTED = ("RUNNING", "UNHEALTHY", "DEPLOY_FAILED")
"""States of an application whose deployment has been started, with or without success."""
Artifacts = Mapping[VariantRef, Artifact]


class Ingress:
    """The deployment that clients reach: routes requests and relays them to the engines.

    `snapshot` is the first of this run. One that starts later begins with the latest that was recorded in `folder`, so
    that it refuses revoked keys even if the controller does not answer. Logs are written below `state`."""

    def __init__(self, snapshot: Snapshot, folder: str, state: str) -> None:
        write_to(Path(state), "ingress")
        handles = Handles()
        if latest := recorded(Path(folder) / LIVE):
            snapshot = replace(latest, version=0)  # without its traffic, so the controller's is always newer

        def describe_for(variant: ServedVariant) -> Describe:
            return lambda ask: handles.describe(variant.engine.application, variant.adapter, ask)

        self.upstreams = Upstreams(snapshot, describe_for)

    async def drain(self, limit_s: float) -> int:
        """Take this ingress out of service; see `serve.dataplane.drain`."""
        return await self.upstreams.drain.run(limit_s)

    def __serve_build_asgi_app__(self) -> Starlette:
        controller = cast(ControllerClient, RayControllerClient())  # its methods are looked up when they are called
        ingress = build_ingress(self.upstreams, self.upstreams.snapshot.stack.server, controller)
        return add_console(ingress, lambda: self.upstreams.snapshot)


class LoggedController(Controller):
    """The controller's deployment, which writes its logs into the state folder."""

    def __init__(self, snapshot: Snapshot, folder: str, state: str) -> None:
        write_to(Path(state), "controller", single=True)
        super().__init__(snapshot, folder, state)


class SharedEngines(EngineDeployment):
    """The deployment of engines that reserve nothing. `live` is the file of the live snapshot. One that starts later
    begins with its engines, because changes of the stack have come and gone since."""

    async def __init__(self, engines: Collection[EngineSpec], doubted: Collection[str], live: str) -> None:  # type: ignore[misc]  # Ray awaits it
        try:
            if latest := recorded(Path(live)):
                engines = sharing(latest.engines.values())
        except (UnderstudyError, OSError, ValueError) as error:  # one damaged artifact must not stop all engines
            logging.getLogger("understudy.engines").warning("begins with the engines of the start: %s", error)
        await super().__init__(engines, doubted)


def targets_of(snapshot: Snapshot, folder: Path, state: Path, doubted: Collection[str] = ()) -> list[Any]:
    """The Ray Serve targets: of the engines, the controller, and the ingress, the only one with a route.

    `folder` is for this run, with the ingresses' counters below `metrics`. `state` is kept between runs.
    `doubted` has the keys of damaged artifacts."""
    from ray import serve as ray_serve

    engines = snapshot.engines.values()
    unsure = [engine.application for engine in engines if engine.artifact.manifest.key in doubted]
    # Open calls wait for heartbeats, which are calls too: with Ray's limit of five they would block each other.
    controller = ray_serve.deployment(name="controller", max_ongoing_requests=1000, ray_actor_options={"num_cpus": 0})(
        LoggedController
    )
    ingress = ray_serve.deployment(
        name="ingress",
        max_ongoing_requests=100_000,  # the limits of the stack apply: see serve.dataplane.upstream
        graceful_shutdown_timeout_s=5,
        ray_actor_options={
            "num_cpus": 0,
            "runtime_env": {"env_vars": {"PROMETHEUS_MULTIPROC_DIR": str(folder / "metrics")}},
        },
    )(ray_serve.ingress()(Ingress))
    return [
        target(SharedEngines, ENGINES, NOTHING, sharing(engines), unsure, str(folder / LIVE)),
        *own_targets(engines, unsure),
        ray_serve.RunTarget(controller.bind(snapshot, str(folder), str(state)), name=CONTROLLER, route_prefix=None),
        ray_serve.RunTarget(ingress.bind(snapshot, str(folder), str(state)), name=INGRESS, route_prefix="/"),
    ]


class Cluster:
    """A context manager that serves a stack: enter to start, leave to stop. `url` is its address. `damaged` names the
    variants whose artifact may be served only after it was verified."""

    def __init__(
        self, stack: Stack, artifacts: Artifacts, state: Path | None = None, damaged: Collection[VariantRef] = ()
    ) -> None:
        self.doubted = {artifacts[ref].manifest.key for ref in damaged}
        check_declared(stack)
        self.snapshot = build_snapshot(stack, artifacts)
        self.gpus = gpus_for(stack.server)
        check_resources(self.snapshot.engines.values(), self.gpus)
        check_gpus_free(self.snapshot.engines.values(), self.gpus)
        self.state = state or state_of(stack.server)
        self.url = f"http://{stack.server.host}:{stack.server.port}"

    def __enter__(self) -> "Cluster":
        """Raises StackError if the port is in use, EngineError if Ray does not start."""
        check_free(self.snapshot.stack.server)
        self.calls = Calls()
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-", dir=short_folder()))
        try:
            os.environ |= ray_environment(self.folder, [free_port() for _ in range(3)])
            (self.folder / "metrics").mkdir()
            self.start()
        except BaseException as error:  # Ray raises errors of many classes, some of them plain Exceptions
            self.__exit__()
            if isinstance(error, UnderstudyError) or not isinstance(error, Exception):
                raise
            said = next((line for line in reversed(str(error).splitlines()) if line.strip()), repr(error))
            mend = f"on a busy machine, try again; else see {home() / 'logs'}"
            raise EngineError(f"Ray did not start: {said.strip()}", mend=mend) from error
        return self

    def start(self) -> None:
        import ray
        from ray import serve as ray_serve

        on_sigterm = signal.getsignal(signal.SIGTERM)
        # Ray's processes inherit this: a closed terminal signals the whole group, but we must end them in order.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=100 * 2**20,  # bytes; nothing large passes through Ray's store
            num_gpus=len(self.gpus),
            _memory=describe().memory_bytes,  # what engines may reserve, as `check_resources` counts
            _temp_dir=str(self.folder),
            runtime_env={"worker_process_setup_hook": "serve.cluster.ray_environment.on_worker_start"},
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray replaced it with `sys.exit`
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        server = self.snapshot.stack.server
        ray_serve.start(http_options={"host": server.host, "port": server.port})
        targets = targets_of(self.snapshot, self.folder, self.state, self.doubted)
        ray_serve.run_many(targets, wait_for_applications_running=False)

    def __exit__(self, *_: object) -> None:
        import ray
        from ray import serve as ray_serve

        self.calls.close()
        if ray.is_initialized():
            # During a shutdown, Ray prints on standard output that its controller died. ray.shutdown() ends the rest of
            # a cluster that failed to start completely.
            with suppress(Exception), redirect_stdout(io.StringIO()):
                ray_serve.shutdown()
            ray.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until_ready(self, stop: threading.Event, progress: Progress) -> dict[str, str] | None:
        """Wait until every engine has been started, or has failed at first. Gives the reason for each `model@variant`
        that is down; None if `stop` is set before. Raises EngineError if no model can be served."""
        from ray import serve as ray_serve

        engines = self.snapshot.engines
        with progress.step("starting engines", total=len(engines)) as step:
            while not stop.wait(0.5):
                applications = ray_serve.status().applications
                states = {name: application.status.value for name, application in applications.items()}
                for name in (CONTROLLER, INGRESS, ENGINES):
                    if states.get(name) == "DEPLOY_FAILED":
                        raise EngineError(explain(name, applications[name]), mend=f"see the logs in {home() / 'logs'}")
                tried = self.calls.submit(self.calls.handles.tried()).result()
                step.to(len(tried & set(engines)))
                if not (set(engines) <= tried and all(states.get(name) in STARTED for name in (CONTROLLER, INGRESS))):
                    continue
                down = self.down()
                models = readiness_of(self.url)
                if set(down) == {f"{model}@{variant}" for model in models for variant in models[model]["down"]}:
                    if any(model["ready"] for model in models.values()):
                        return down
                    if down:
                        raise EngineError(f"no model can be served: {'; '.join(down.values())}")
        return None

    def down(self) -> dict[str, str]:
        """The variants whose deployment gives no endpoint, and why."""
        down = {}
        for variant in self.snapshot.variants.values():
            asked = self.calls.submit(self.calls.handles.describe(variant.engine.application, variant.adapter))
            try:
                asked.result(ADAPTER_LIMIT_S)
            except Exception as error:  # Ray has many errors for a replica that is starting or gone
                down[variant.name] = str(getattr(error, "cause", error))
        return down

    def drain(self, at_once: threading.Event) -> None:
        """Turn readiness off and wait for open requests, at most `server.drain_s`, or until `at_once` is set."""
        limit_s = self.snapshot.stack.server.drain_s
        drained = self.calls.submit(self.calls.drain(INGRESS, limit_s))
        end = time.monotonic() + limit_s + LAST_S
        while not (drained.done() or at_once.wait(POLL_S)) and time.monotonic() < end:
            pass


def state_of(server: Server) -> Path:
    """The state folder of a server, kept between runs and named by host and port."""
    return home() / "state" / f"{server.host.replace(':', '_')}-{server.port}"


def check_free(server: Server) -> None:
    """Raises StackError if the server cannot listen."""
    if server.grpc_port == server.port:
        raise StackError(f"{server.port} is also server.port", field="server.grpc_port", mend="choose another port")
    for field, port, mend in (
        ("server.port", server.port, "end the process on that port, or choose another with --port"),
        ("server.grpc_port", server.grpc_port, "end the process on that port, or choose another"),
    ):
        if port is not None:
            check_port(server.host, port, field, mend)


def check_port(host: str, port: int, field: str, mend: str) -> None:
    """Raises StackError, which names `field`, if nothing can listen on the port."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            message = f"cannot listen on {host}:{port}: {error.strerror}"
            raise StackError(message, field=field, mend=mend) from None
