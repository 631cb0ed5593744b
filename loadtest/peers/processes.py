"""Processes of a measurement: started, pinned to a core, paused while another is measured, stopped by their id.

Only processes started here are ever touched. Linux only: affinity is set for each thread, because that of a process
covers its first thread only.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import psutil

ENGINE_CORE = 0
OTHER_CORE = 1


def tree(root: int) -> list[psutil.Process]:
    """A process and all its descendants that are alive."""
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


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
        name = " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False
    return "EngineCore" in name or "Worker" in name


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU-seconds that these processes have used so far."""
    total = 0.0
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path, limit_s: float = 240) -> None:
    """Until `url` answers 200. Raises RuntimeError, with the end of the log, when the process ends or the limit passes
    first."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode} before it was ready:\n{end_of(log)}")
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            if answer.status == 200:
                return
        time.sleep(0.5)
    raise RuntimeError(f"{url} did not answer within {limit_s:g} s:\n{end_of(log)}")


def end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(
    arguments: Sequence[str], log: Path, env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A child `python ARGUMENTS`, its output in `log`, ended with all its descendants on leaving."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdout=output,
            stderr=output,
            stdin=subprocess.PIPE,
            env=os.environ | (env or {}),
        )
        try:
            yield process
        finally:
            end(process)


def end(process: subprocess.Popen[bytes], patience_s: float = 30) -> None:
    """Close its input, ask it to stop, wait, then kill what is left of its tree."""
    family = tree(process.pid)
    resume(family)
    if process.stdin:
        process.stdin.close()
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(patience_s)
    for survivor in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            survivor.kill()
    process.wait()


def pause(processes: Iterable[psutil.Process]) -> None:
    """Stop them where they are, so that an idle engine takes nothing from the measured one."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.suspend()


def resume(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.resume()
