"""The processes of a measured server: which of them compute, the core that they run on, and their CPU time.

Linux only. The core is set for each thread, because the setting of a process covers only its first thread.
"""

import contextlib
import os
from collections.abc import Iterable

import psutil


def pin(processes: Iterable[psutil.Process], core: int) -> None:
    """Put every thread of these processes on one core."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), {core})


def is_engine(process: psutil.Process) -> bool:
    """Whether this is one of vLLM's computing processes, which vLLM names EngineCore or Worker."""
    try:
        command = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return "EngineCore" in command or "Worker" in command


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """The CPU-seconds that these processes have used so far. An ended process counts as 0."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def busy_s() -> float:
    """The CPU-seconds since the machine started in which its cores worked or were withheld by its host."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)
