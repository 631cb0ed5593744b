"""Effort: how long a build took, how much memory its process held at most, and on which machine.

The kernel keeps a process's highest resident set (`VmHWM`, proc_pid_status(5)) and forgets it on request
(`clear_refs`, proc_pid_clear_refs(5)), so that each of several builds in one process has its own. psutil reads it but
cannot have it forgotten, and sampling would miss a peak between two looks.
"""

import time
from pathlib import Path
from typing import Annotated

from pydantic import Field

from variants.document import Document
from variants.machine import Machine, describe

_PROCESS = Path("/proc/self")
_FORGET_THE_PEAK = "5"


class BuildCost(Document):
    """`seconds` of wall time, what had to be fetched for it included. `peak_bytes`: pages of memory-mapped files count,
    child processes do not; None where the kernel does not tell."""

    seconds: Annotated[float, Field(ge=0)]
    peak_bytes: Annotated[int, Field(gt=0)] | None
    machine: Machine


class Stopwatch:
    """Begins where it is made."""

    def __init__(self) -> None:
        self.forgot = _forget_the_peak()
        self.began = time.monotonic()

    def effort(self) -> BuildCost:
        """What it took until now."""
        seconds = round(time.monotonic() - self.began, 3)
        return BuildCost(seconds=seconds, peak_bytes=_peak_bytes() if self.forgot else None, machine=describe())


def _forget_the_peak() -> bool:
    try:
        (_PROCESS / "clear_refs").write_text(_FORGET_THE_PEAK)
    except OSError:  # another kernel, or one that does not let us
        return False
    return True


def _peak_bytes() -> int:
    lines = (line.split() for line in (_PROCESS / "status").read_text().splitlines())
    return next(1024 * int(words[1]) for words in lines if words[0] == "VmHWM:")
