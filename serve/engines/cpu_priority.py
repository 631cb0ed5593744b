"""Lets an engine that only answers replays compute with the processor time that others leave, and takes it back.

Linux only, and only where the machine allows the way back: leaving SCHED_IDLE needs CAP_SYS_NICE or RLIMIT_NICE
(sched(7)). Where sessions compete before threads do (autogroup), the session's share counts as well. Meanwhile the
engine keeps to half of the processors: beside a client's engine on the same one, it would get a small share all the
same, and interrupt the other for it (docs/decisions.md). The kernel alone holds the state, so any ingress may ask for
it, and one that starts anew finds it.
"""

import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import psutil

PROC = Path("/proc")
LEAST, USUAL = 19, 0
"""A session's niceness while its engine takes what is left, and otherwise."""
GONE = (ProcessLookupError, FileNotFoundError, psutil.NoSuchProcess)


@cache
def can_restore() -> bool:
    """Whether a thread here that has let go of its priority gets it back; tried on one of our own."""
    if not hasattr(os, "SCHED_IDLE"):
        return False
    restored = []

    def leave_and_return() -> None:
        with suppress(OSError):
            set_policy(0, os.SCHED_IDLE)
            set_policy(0, os.SCHED_OTHER)
            restored.append(True)

    thread = threading.Thread(target=leave_and_return)
    thread.start()
    thread.join()
    return bool(restored)


def is_lowered(pid: int) -> bool:
    """Whether a process computes with what is left; a process that is gone does not."""
    try:
        return os.sched_getscheduler(pid) == os.SCHED_IDLE
    except GONE:
        return False


def lower(pid: int) -> None:
    """A process and all below it get what others leave on half of the processors. Raises OSError where that is not
    allowed."""
    put(pid, os.SCHED_IDLE, LEAST)


def restore(pid: int) -> None:
    """A process and all below it compete again, wherever its parent may. Raises OSError where that is not allowed."""
    put(pid, os.SCHED_OTHER, USUAL)


def put(pid: int, policy: int, session_niceness: int) -> None:
    """Children first, and the first thread last: by its policy the process tells that all is done."""
    with suppress(*GONE):
        first = psutil.Process(pid)
        processors = sorted(os.sched_getaffinity(first.ppid()))
        if policy == os.SCHED_IDLE:
            processors = processors[len(processors) // 2 :]
        for process in [*first.children(recursive=True), first]:
            with suppress(*GONE):
                share(process.pid, session_niceness)
                threads = [int(task.name) for task in (PROC / str(process.pid) / "task").iterdir()]
                for thread in sorted(threads, reverse=True):
                    with suppress(*GONE):
                        os.sched_setaffinity(thread, processors)
                        set_policy(thread, policy)


def set_policy(thread: int, policy: int) -> None:
    os.sched_setscheduler(thread, policy, os.sched_param(0))


def share(pid: int, niceness: int) -> None:
    """The session's, where the kernel keeps one. Unprivileged, it may be changed ten times a second."""
    file = PROC / str(pid) / "autogroup"
    with suppress(FileNotFoundError):
        if file.read_text().split()[-1] != str(niceness):
            file.write_text(str(niceness))
