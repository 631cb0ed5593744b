"""The cost of a build: its time, the peak memory of its process, and the machine.

The kernel records a process's peak resident set (`VmHWM`, proc_pid_status(5)) and resets it on request (`clear_refs`,
proc_pid_clear_refs(5)). So each of several builds in one process has its own peak. psutil cannot reset it, and sampling
would miss a peak between two samples.
"""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from variants.document import Document
from variants.machine import Machine, describe

_PROCESS = Path("/proc/self")
_RESET_PEAK = "5"


class BuildCost(Document):
    """`seconds` is wall time; it includes data that the method fetches. `peak_bytes` includes pages of memory-mapped
    files, but no child processes. It is None where the kernel does not report it."""

    seconds: Annotated[float, Field(ge=0)]
    peak_bytes: Annotated[int, Field(gt=0)] | None
    machine: Machine


class Stopwatch:
    """Measures the cost of a build from the moment of its creation."""

    def __init__(self) -> None:
        try:
            (_PROCESS / "clear_refs").write_text(_RESET_PEAK)
            self.has_own_peak = True
        except OSError:  # not Linux, or not permitted
            self.has_own_peak = False
        self.began = time.monotonic()

    def cost(self) -> BuildCost:
        """The cost until now."""
        seconds = round(time.monotonic() - self.began, 3)
        return BuildCost(seconds=seconds, peak_bytes=_peak_bytes() if self.has_own_peak else None, machine=describe())


def _peak_bytes() -> int:
    lines = (line.split() for line in (_PROCESS / "status").read_text().splitlines())
    return next(1024 * int(words[1]) for words in lines if words[0] == "VmHWM:")
