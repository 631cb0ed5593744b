"""The processes of a server under measurement: which of them compute, on which core they run, and their CPU time.

Linux only: affinity is set for each thread, because that of a process covers its first thread only.
"""

import contextlib
import os
from collections.abc import Iterable

import psutil


def tree(root: int) -> list[psutil.Process]:
    """A process and all its descendants that are alive."""
    process = psutil.Process(root)
    return [process, *process.children(recursive=True)]


def pin(processes: Iterable[psutil.Process], core: int) -> None:
    """Put every thread of these processes on one core."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            for thread in os.listdir(f"/proc/{process.pid}/task"):
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(int(thread), {core})


def is_engine(process: psutil.Process) -> bool:
    """vLLM names the processes that compute after what they are; its front end keeps another name."""
    try:
        command = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return "EngineCore" in command or "Worker" in command


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU-seconds that these processes have used so far."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def busy_s() -> float:
    """CPU-seconds that the machine's cores have worked, or that its host withheld, since the machine started."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)
