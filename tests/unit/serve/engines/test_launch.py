"""What a stack file says of an engine stands in its command line."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from serve.config.resources import Resources
from serve.config.stack import Adapters, TorchEngine, VllmEngine
from serve.engines.launch import Warm, launch
from tests.support.scripted import make_artifact


def test_vllm_takes_adapters_on_the_layers_it_was_told(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "lora", "text-generation")
    engine = VllmEngine(kind="vllm", adapters=Adapters(slots=2, rank=8, modules=("q_proj", "v_proj")))
    words = launch(engine, artifact.path, artifact.manifest, "m@lora").command
    place = words.index("--lora-target-modules")
    assert words[place + 1 : place + 3] == ("q_proj", "v_proj")
    assert words[words.index("--max-lora-rank") + 1] == "8"
    plain = launch(VllmEngine(kind="vllm"), artifact.path, artifact.manifest, "m@baseline")
    assert not any("lora" in word for word in plain.command)


def test_an_engine_computes_with_its_own_threads_alone(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")
    launched = launch(VllmEngine(kind="vllm", threads=3), artifact.path, artifact.manifest, "m@baseline")
    assert launched.environment["OMP_NUM_THREADS"] == "3"
    assert launched.environment["HF_HUB_OFFLINE"] == "1"


def test_vllm_is_forked_on_a_cpu_and_one_warmed_process_serves_engines_with_and_without_adapters(
    tmp_path: Path,
) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")

    def warm(**settings: Any) -> Warm | None:
        engine = VllmEngine(kind="vllm", **settings)
        return launch(engine, artifact.path, artifact.manifest, "m@baseline").warm

    first = warm()
    assert first is not None
    assert first.modules[0] == "serve.engines.vllm.server"
    assert warm(context=512, adapters=Adapters(slots=2)) == first
    assert warm(threads=2) != first, "threads are read at import"
    assert warm(resources=Resources(gpus=0.5)) is None, "CUDA does not survive a fork"


def vllm_command(folder: Path, digest: str, *device: str, eager: bool) -> tuple[str, ...]:
    return (
        sys.executable, "-m", "serve.engines.vllm.server", "--model", str(folder / "model"),
        "--served-model-name", "m@baseline", "--host", "127.0.0.1", "--port", "{port}", "--max-model-len", "4096",
        "--max-num-seqs", "64", *device, "--fingerprint-mode", "custom", "--fingerprint-value", digest,
        "--middleware", "serve.engines.vllm.errors.PlainErrors",
        "--middleware", "serve.engines.http.faults.AnswerFaults",
        "--middleware", "serve.engines.http.secret.CheckSecret",
        *(["--enforce-eager"] if eager else []), "--disable-uvicorn-access-log",
    )  # fmt: skip


COMMON = {"VLLM_NO_USAGE_STATS", "VLLM_HOST_IP", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "HF_HUB_OFFLINE"} | {
    "VLLM_LOG_STATS_INTERVAL", "VLLM_MAX_STOP_STRINGS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "TOKENIZERS_PARALLELISM"
}  # fmt: skip


def test_on_a_cpu_vllm_starts_as_it_did_before_there_were_gpus(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")
    how = launch(VllmEngine(kind="vllm", context=4096), artifact.path, artifact.manifest, "m@baseline")
    cache = ("--kv-cache-memory-bytes", str(512 * 2**20))
    assert how.command == vllm_command(artifact.path, artifact.manifest.digest, *cache, eager=True)
    assert set(how.environment) - {"GOMP_SPINCOUNT"} == COMMON | {"VLLM_CPU_OMP_THREADS_BIND", "TORCHDYNAMO_DISABLE"}


@pytest.mark.parametrize(
    ("settings", "ids", "device", "eager"),
    [
        ({"resources": {"gpus": 0.5}}, ("0",), ("--gpu-memory-utilization", "0.4600"), False),
        ({"resources": {"gpus": 1}, "eager": True}, ("3",), ("--gpu-memory-utilization", "0.9200"), True),
        (
            {"resources": {"gpus": 2}, "kv_cache_dtype": "fp8"},
            ("0", "1"),
            ("--gpu-memory-utilization", "0.9200", "--tensor-parallel-size", "2", "--kv-cache-dtype", "fp8"),
            False,
        ),
    ],
)
def test_on_a_gpu_vllm_gets_its_share_and_records_cuda_graphs(
    tmp_path: Path, settings: dict[str, Any], ids: tuple[str, ...], device: tuple[str, ...], eager: bool
) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")
    engine = VllmEngine.model_validate({"kind": "vllm", "context": 4096, **settings})
    how = launch(engine, artifact.path, artifact.manifest, "m@baseline", ids)
    assert how.command == vllm_command(artifact.path, artifact.manifest.digest, *device, eager=eager)
    assert set(how.environment) - {"GOMP_SPINCOUNT"} == COMMON | {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
    assert how.environment["CUDA_VISIBLE_DEVICES"] == ",".join(ids)


TRACING = {
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
    "OTEL_SERVICE_NAME": "understudy-vllm",
    "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    "OTEL_BSP_SCHEDULE_DELAY": "1000",
}


def test_vllm_sends_its_spans_where_ours_go_and_its_warmed_process_stays_the_same(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "text-generation")
    asked = VllmEngine(kind="vllm"), artifact.path, artifact.manifest, "m@baseline", ()
    plain, traced = launch(*asked), launch(*asked, "http://127.0.0.1:4318/")
    assert traced.command == (*plain.command, "--otlp-traces-endpoint", "http://127.0.0.1:4318/v1/traces")
    assert traced.environment == plain.environment | TRACING
    assert traced.warm == plain.warm
    assert not any(name.startswith("OTEL_") for name in plain.environment)


def test_other_engines_send_no_spans(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "image-classification")
    asked = TorchEngine(kind="torch"), artifact.path, artifact.manifest, "m@baseline", ()
    assert launch(*asked, "http://127.0.0.1:4318") == launch(*asked)


def test_vllm_can_send_spans_over_http() -> None:
    """It imports what it needs for them or goes without; then it would not start with an address for them."""
    for name in ("grpc", "http"):
        assert importlib.util.find_spec(f"opentelemetry.exporter.otlp.proto.{name}.trace_exporter") is not None
    source = importlib.util.find_spec("vllm")
    assert source is not None
    assert source.origin is not None
    text = (Path(source.origin).parent / "tracing" / "otel.py").read_text()
    assert "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL" in text
    assert '"http/protobuf"' in text


def test_vllm_knows_every_option_for_gpus(tmp_path: Path) -> None:
    """They stand in vLLM's own settings, where its command line comes from."""
    source = importlib.util.find_spec("vllm")
    assert source is not None
    assert source.origin is not None
    text = (Path(source.origin).parent / "engine" / "arg_utils.py").read_text()
    for option in ("--gpu-memory-utilization", "--tensor-parallel-size", "--kv-cache-dtype", "--enforce-eager"):
        assert f'"{option}"' in text


def test_torch_is_told_its_share_and_nothing_on_a_cpu(tmp_path: Path) -> None:
    artifact = make_artifact(tmp_path, "m", "baseline", "image-classification")
    on_gpu = TorchEngine(kind="torch", resources=Resources(gpus=0.5))
    how = launch(on_gpu, artifact.path, artifact.manifest, "m@baseline", ("1",))
    assert how.command[-2:] == ("--gpu-share", "0.5")
    assert how.environment["CUDA_VISIBLE_DEVICES"] == "1"
    plain = launch(TorchEngine(kind="torch"), artifact.path, artifact.manifest, "m@baseline")
    assert "--gpu-share" not in plain.command
    assert "CUDA_VISIBLE_DEVICES" not in plain.environment


def test_torch_serves_pictures_and_classes_by_modules_of_their_own(tmp_path: Path) -> None:
    modules = {}
    for task in ("image-classification", "image-generation"):
        artifact = make_artifact(tmp_path, "m", task, task)
        modules[task] = launch(TorchEngine(kind="torch"), artifact.path, artifact.manifest, "m@v").command[2]
    assert modules == {
        "image-classification": "serve.engines.torch.image",
        "image-generation": "serve.engines.torch.image_generation",
    }
