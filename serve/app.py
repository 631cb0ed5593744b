"""The only wiring: a stack becomes one Ray Serve application on a Ray of its own.

Nothing of another Ray on the machine is touched: ports are free ones, files lie in a folder of this run, and leaving
the `Cluster` ends just what entering it began. Ray reads its settings when it is imported, so it is imported here,
late.
"""

import io
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
import urllib.request
from collections.abc import Mapping
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from serve.engines.process import free_port
from serve.fleet import Describe, Endpoint, Fleet
from serve.host import Host
from serve.ingress import build_ingress
from serve.loopback import ray_environment
from serve.stack import Server, Stack
from variants.errors import EngineError, StackError
from variants.home import home
from variants.progress import Progress
from variants.store import Artifact

APPLICATION = "understudy"
Artifacts = Mapping[tuple[str, str], Artifact]


class Ingress:
    """The deployment that clients reach: holds the router, relays to the engines."""

    def __init__(self, stack: Stack, artifacts: Artifacts, hosts: Mapping[tuple[str, str], Any]) -> None:
        describes = {seat: describe_by(handle) for seat, handle in hosts.items()}
        self.fleet = Fleet(stack, {seat: found.manifest for seat, found in artifacts.items()}, describes)
        self.server = stack.server

    def __serve_build_asgi_app__(self) -> Starlette:
        return build_ingress(self.fleet, self.server)


def describe_by(handle: Any) -> Describe:
    async def describe() -> Endpoint:
        return Endpoint(*await handle.describe.remote())

    return describe


def build_application(stack: Stack, artifacts: Artifacts, metrics: Path) -> Any:
    """The Serve application: the ingress over one deployment a variant. `metrics` is where its processes count."""
    from ray import serve as ray_serve

    hosts = {}
    for (model, variant), artifact in artifacts.items():
        name = f"{model}@{variant}"
        host = ray_serve.deployment(
            name=name,
            ray_actor_options={"num_cpus": 0},
            health_check_period_s=2,
            graceful_shutdown_timeout_s=20,
            max_constructor_retry_count=2,
        )(Host)
        engine = stack.models[model].variants[variant].engine
        hosts[model, variant] = host.bind(name, engine, str(artifact.path), artifact.manifest)
    ingress = ray_serve.deployment(
        name="ingress",
        max_ongoing_requests=100_000,  # the stack's own limits rule: see serve.fleet
        graceful_shutdown_timeout_s=5,
        ray_actor_options={
            "num_cpus": 0,
            "runtime_env": {"env_vars": {"PROMETHEUS_MULTIPROC_DIR": str(metrics)}},
        },
    )(ray_serve.ingress()(Ingress))
    return ingress.bind(stack, artifacts, hosts)


class Cluster:
    """A stack being served: enter to start, leave to stop. `url` is where it answers."""

    def __init__(self, stack: Stack, artifacts: Artifacts) -> None:
        self.stack, self.artifacts = stack, artifacts
        self.url = f"http://{stack.server.host}:{stack.server.port}"

    def __enter__(self) -> "Cluster":
        """Raises StackError where the port is taken, EngineError where Ray Serve does not start."""
        check_free(self.stack.server)
        self.folder = Path(tempfile.mkdtemp(prefix="understudy-"))
        try:
            os.environ |= ray_environment(self.folder, [free_port() for _ in range(3)])
            metrics = self.folder / "metrics"
            metrics.mkdir()
            self.start(metrics)
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self, metrics: Path) -> None:
        import ray
        from ray import serve as ray_serve

        on_sigterm = signal.getsignal(signal.SIGTERM)
        # Inherited by Ray's processes: a closed terminal tells the whole group, but ending them in order is ours to do.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.WARNING,
            object_store_memory=100 * 2**20,  # bytes; nothing large ever passes through Ray's store
            _temp_dir=str(self.folder),
            runtime_env={"worker_process_setup_hook": "serve.loopback.on_worker_start"},
        )
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray has put `sys.exit` in its place
        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        application = build_application(self.stack, self.artifacts, metrics)
        try:
            ray_serve.start(http_options={"host": self.stack.server.host, "port": self.stack.server.port})
            ray_serve.run_many(
                [ray_serve.RunTarget(application, name=APPLICATION, route_prefix="/")],
                wait_for_applications_running=False,
            )
        except ray.exceptions.RayError as error:
            said = next((line for line in reversed(str(error).splitlines()) if line.strip()), repr(error))
            raise EngineError(f"Ray Serve did not start: {said.strip()}") from error

    def __exit__(self, *_: object) -> None:
        import ray
        from ray import serve as ray_serve

        if ray.is_initialized():
            # Ray prints on standard output that its controller died, which is what a shutdown does to it. What is left
            # of a cluster that failed half-way is ended by ray.shutdown().
            with suppress(Exception), redirect_stdout(io.StringIO()):
                ray_serve.shutdown()
            ray.shutdown()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_until_ready(self, stop: threading.Event, progress: Progress) -> bool:
        """Wait until every variant answers; False when `stop` was set before. Raises EngineError."""
        from ray import serve as ray_serve

        with progress.step("starting engines", total=len(self.artifacts)) as step:
            while not stop.wait(0.5):
                application = ray_serve.status().applications.get(APPLICATION)
                if application is None:
                    continue
                states = {name: found.status.value for name, found in application.deployments.items()}
                up = sum(state == "HEALTHY" for name, state in states.items() if name != "ingress")
                step.to(up)
                if application.status.value == "DEPLOY_FAILED":
                    raise EngineError(explain(application), mend=f"see the logs in {home() / 'logs'}")
                if application.status.value == "RUNNING" and self.answers():
                    return True
        return False

    def answers(self) -> bool:
        """Whether the ingress has heard from every variant."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False


def check_free(server: Server) -> None:
    """Raises StackError where the server could not listen."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((server.host, server.port))
        except OSError as error:
            raise StackError(
                f"cannot listen on {server.host}:{server.port}: {error.strerror}",
                field="server.port",
                mend="end what listens there, or give another with --port",
            ) from None


def explain(application: Any) -> str:
    """Why an application could not be deployed, in the words of the first deployment that failed."""
    for name, found in application.deployments.items():
        if found.status.value in ("UNHEALTHY", "DEPLOY_FAILED"):
            lines = [line for line in found.message.splitlines() if line.strip()]
            return f"{name} could not be started: {lines[-1] if lines else found.status.value}"
    return f"the application could not be started: {application.message}"
