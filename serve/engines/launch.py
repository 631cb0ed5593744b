"""How each kind of engine is started: one function a kind, from the stack's settings to a command line.

vLLM's threads are bound to no core. Its own binding puts every engine's threads on core 0 and leaves the others to the
front end. So several engines on one machine would fight for one core while the rest idle.

A thread of libgomp's that has nothing to do spins for milliseconds before it sleeps, which takes a core from the other
engines; on a CPU without AVX-512 it spins for microseconds instead (docs/decisions.md has what that costs and gives).

On a GPU, vLLM compiles the model, records CUDA graphs and chooses its kernels by itself, such as Marlin's for int4.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from serve.config.engine_plugin import PluginEngine
from serve.config.parsers import parsers_of
from serve.config.resources import UTILIZATION
from serve.config.stack import Engine, OpenVinoEngine, ScriptedEngine, TorchEngine, VllmEngine
from variants.artifacts.manifest import Manifest
from variants.machine import describe

OPENVINO = {
    "feature-extraction": "openvino.text_encoder",
    "text-classification": "openvino.text_classifier",
    "object-detection": "openvino.detector",
    "image-generation": "openvino.image_generator",
}
"""The module of OpenVINO's engine for tasks other than image classification."""
TORCH = {"image-generation": "torch.image_generation"}
"""The same for torch's."""

NEVER_S = str(365 * 24 * 3600)
"""vLLM counts what `serve.engines.figures` reads. It would also write a line of it into its log every ten seconds."""
VLLM, API_SERVER = "serve.engines.vllm.server", "vllm.entrypoints.launchers.api_server.entry"
SPINS = "1000"


@dataclass(frozen=True)
class Warm:
    """A process that has imported `modules` with `environment`, and forks engines: see `serve.engines.warm`."""

    name: str
    modules: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Launch:
    """A command, `{port}` standing for the port, and what it adds to the environment. `artifact` is the folder of the
    artifact that the engine holds as long as it lives. A process of `warm` may fork the engine instead."""

    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    artifact: Path | None = None
    warm: Warm | None = None


def launch(
    engine: Engine, folder: Path, manifest: Manifest, name: str, gpu_ids: Sequence[str] = (), traces: str = ""
) -> Launch:
    """How to start `engine` on the artifact in `folder`; it answers to the model name `name` and sees the GPUs
    `gpu_ids`. `traces` is the address of an OTLP receiver over HTTP, empty where nothing is traced."""
    started = _launch(engine, folder, manifest, name)
    if traces and isinstance(engine, VllmEngine):
        started = with_spans(started, traces)
    return replace(started, environment=started.environment | gpu_environment(gpu_ids), artifact=folder)


def with_spans(started: Launch, traces: str) -> Launch:
    """vLLM that sends a span of each request whose caller is traced. It has numbers of the request, and no text."""
    settings = {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": "understudy-vllm",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",  # else it would trace test requests and its own start
        "OTEL_BSP_SCHEDULE_DELAY": "1000",  # in ms, as `serve.traces` sends its spans
    }
    command = (*started.command, "--otlp-traces-endpoint", f"{traces.rstrip('/')}/v1/traces")
    return replace(started, command=command, environment=started.environment | settings)


def gpu_environment(gpu_ids: Sequence[str]) -> dict[str, str]:
    """CUDA's variables for these GPUs, numbered as the driver does; nothing without one."""
    return {"CUDA_VISIBLE_DEVICES": ",".join(gpu_ids), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if gpu_ids else {}


def _launch(engine: Engine, folder: Path, manifest: Manifest, name: str) -> Launch:
    if isinstance(engine, VllmEngine):
        return launch_vllm(engine, folder, manifest, name)
    if isinstance(engine, TorchEngine):
        return launch_torch(engine, folder, manifest, name)
    if isinstance(engine, OpenVinoEngine):
        return launch_openvino(engine, folder, manifest, name)
    if isinstance(engine, PluginEngine):
        return Launch(engine.command(folder, name))
    return launch_scripted(engine, folder, manifest, name)


def own(module: str, name: str, *arguments: str) -> tuple[str, ...]:
    return (
        sys.executable, "-m", f"serve.engines.{module}",
        "--name", name, "--host", "127.0.0.1", "--port", "{port}", *arguments,
    )  # fmt: skip


def threads_environment(threads: int) -> dict[str, str]:
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
    return environment if "avx512f" in describe().flags else environment | {"GOMP_SPINCOUNT": SPINS}


def launch_vllm(engine: VllmEngine, folder: Path, manifest: Manifest, name: str) -> Launch:
    on_gpu = engine.resources.gpus > 0
    command: tuple[str, ...] = (
        sys.executable, "-m", VLLM,
        "--model", str(folder / "model"),
        "--served-model-name", name,
        "--host", "127.0.0.1", "--port", "{port}",
        *(("--max-model-len", str(engine.context)) if engine.context else ()),
        "--max-num-seqs", str(engine.sequences),
        *(gpu_options(engine) if on_gpu else ("--kv-cache-memory-bytes", str(engine.kv_cache_mib * 2**20))),
        "--fingerprint-mode", "custom", "--fingerprint-value", manifest.digest,
        "--middleware", "serve.engines.vllm.errors.PlainErrors",
        "--middleware", "serve.engines.http.faults.AnswerFaults",
        "--middleware", "serve.engines.http.secret.CheckSecret",
        *(("--enforce-eager",) if engine.eager or not on_gpu else ()),
        "--disable-uvicorn-access-log",
    )  # fmt: skip
    environment = {
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        # Longer than the relay keeps an idle connection, so that none is closed while a request is on its way.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "60",
        "HF_HUB_OFFLINE": "1",
        "VLLM_LOG_STATS_INTERVAL": NEVER_S,
        "VLLM_MAX_STOP_STRINGS": "16",  # as many as the ingress lets through
    }
    if not on_gpu:
        environment["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
        # vLLM would compile parts of its sampler when a first request asks for logprobs or a seed. That takes half a
        # minute, and nobody is answered meanwhile.
        environment["TORCHDYNAMO_DISABLE"] = "1"
    environment |= threads_environment(engine.threads)
    # CUDA does not survive a fork.
    settings = tuple(sorted(environment.items()))
    warm = None if on_gpu else Warm(f"vllm-{engine.threads}-threads", (VLLM, API_SERVER), settings)
    if engine.adapters:
        slots, rank = str(engine.adapters.slots), str(engine.adapters.rank)
        command += ("--enable-lora", "--max-loras", slots, "--max-cpu-loras", slots, "--max-lora-rank", rank)
        command += ("--lora-target-modules", *engine.adapters.modules)
        environment["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    command += parser_options(engine, folder / "model")
    return Launch(command, environment, warm=warm)


def gpu_options(engine: VllmEngine) -> tuple[str, ...]:
    """vLLM's options for its share of one GPU, or for several whole ones, over which it splits each matrix."""
    gpus = engine.resources.gpus
    options: tuple[str, ...] = ("--gpu-memory-utilization", f"{UTILIZATION * min(gpus, 1):.4f}")
    if gpus > 1:
        options += ("--tensor-parallel-size", f"{gpus:.0f}")
    return options if engine.kv_cache_dtype == "auto" else (*options, "--kv-cache-dtype", engine.kv_cache_dtype)


def parser_options(engine: VllmEngine, model: Path) -> tuple[str, ...]:
    """The options for vLLM's parsers of tool calls and of reasoning, if the model in that folder has such."""
    tools, reasoning = parsers_of(model, engine.tool_parser, engine.reasoning_parser)
    options: tuple[str, ...] = ()
    if tools:
        # At this level a call's arguments are held to the schema of its tool, whether or not the tool says `strict`.
        options = ("--enable-auto-tool-choice", "--tool-call-parser", tools, "--tool-strict-level", "parameter")
    return (*options, "--reasoning-parser", reasoning) if reasoning else options


def launch_torch(engine: TorchEngine, folder: Path, manifest: Manifest, name: str) -> Launch:
    arguments = ["--artifact", str(folder), "--threads", str(engine.threads)]
    if gpus := engine.resources.gpus:
        arguments += ["--gpu-share", f"{gpus:g}"]
    module = TORCH.get(manifest.task, "torch.image")
    return Launch(own(module, name, *arguments), threads_environment(engine.threads))


def launch_openvino(engine: OpenVinoEngine, folder: Path, manifest: Manifest, name: str) -> Launch:
    arguments = ("--artifact", str(folder), "--threads", str(engine.threads))
    module = OPENVINO.get(manifest.task, "openvino.image_classifier")
    return Launch(own(module, name, *arguments), threads_environment(engine.threads))


def launch_scripted(engine: ScriptedEngine, folder: Path, manifest: Manifest, name: str) -> Launch:
    arguments = [
        "--artifact", str(folder),
        "--task", manifest.task,
        "--context", str(engine.context),
        "--first-token-s", str(engine.first_token_s),
        "--token-s", str(engine.token_s),
        "--startup-s", str(engine.startup_s),
        "--errs", str(engine.errs),
    ]  # fmt: skip
    for option in ("fail_after", "hang_after", "garble_after", "exit_after"):
        if (count := getattr(engine, option)) is not None:
            arguments += [f"--{option.replace('_', '-')}", str(count)]
    if engine.loops:
        arguments.append("--loops")
    if engine.adapters:
        arguments += ["--adapters", str(engine.adapters.slots)]
    return Launch(own("scripted.engine", name, *arguments))


def child_environment(added: Mapping[str, str]) -> dict[str, str]:
    """This process' environment for the child, less what is meant for this process alone, and with what is `added`."""
    kept = {name: value for name, value in os.environ.items() if name != "PROMETHEUS_MULTIPROC_DIR"}
    return kept | dict(added) | {"UNDERSTUDY_PARENT": str(os.getpid())}
