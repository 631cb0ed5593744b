"""Runs a command and ends every process that it leaves behind: `python3 .ci/supervise.py COMMAND ...`.

Tests and demos start servers, engines and browsers in their own sessions, and some children live longer than their
parents. No process group contains them all. So this process becomes a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a
process that loses its parent becomes a child of this one, instead of a child of pid 1. Every process that still runs
after the command is reported and ended. On a system without subreapers (macOS), that is only the command's own process
group. It uses only the standard library, because it runs before the environment is made.

SIGINT, SIGTERM and SIGHUP interrupt the command once, like Ctrl-C. Under nohup SIGHUP is ignored. The exit code is that
of the command; 130 after an interrupt; 1 if the command succeeded but left a process running.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
INTERRUPT_LIMIT_S = 90.0
GRACE_S = 10.0
LOOK_S = 0.1


def supervise(command: Sequence[str]) -> int:
    """Run the command to its end, end what it left, and return the exit code."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        interrupted = True

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores SIGHUP, and that stays so
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in numbers}
    # In its own session Ctrl-C reaches only this process, which then interrupts the command once.
    process = subprocess.Popen(command, start_new_session=True)
    pid = process.pid
    ended: dict[int, int] = {}
    while pid not in ended and not interrupted:
        ended |= reap(LOOK_S)
    if pid not in ended:
        end_group(pid, signal.SIGINT)
        deadline = time.monotonic() + INTERRUPT_LIMIT_S
        while pid not in ended and time.monotonic() < deadline:
            ended |= reap(LOOK_S)
    code = os.waitstatus_to_exitcode(ended.get(pid, signal.SIGKILL))
    # Popen must not wait for it again. A shell too gives 128 plus the signal's number.
    process.returncode = 128 - code if code < 0 else code
    names = [] if interrupted else [describe(each) for each in left_after(GRACE_S)]
    end_all(pid)
    for number, handler in before.items():
        signal.signal(number, handler)
    if interrupted:
        return 130
    for name in names:
        print(f"left running, ended now: {name}", file=sys.stderr)
    return process.returncode or int(bool(names))


def reap(wait_s: float) -> dict[int, int]:
    """The wait statuses of the children that have ended, by pid. Waits `wait_s` seconds if none has."""
    ended = {}
    with suppress(ChildProcessError):
        while (waited := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            ended[waited[0]] = waited[1]
    if not ended:
        time.sleep(wait_s)
    return ended


def descendants() -> list[int]:
    """The pids of the processes below this one, without zombies."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = path.read_text().rpartition(")")[2].split()[:2]
        except OSError:  # it has ended meanwhile
            continue
        if state != "Z":
            children.setdefault(int(parent), []).append(int(path.parent.name))
    below, parents = [], [os.getpid()]
    while parents:
        parents = [child for parent in parents for child in children.get(parent, [])]
        below += parents
    return below


def left_after(limit_s: float) -> list[int]:
    """The descendants that still run after `limit_s` seconds. Returns at once when there is none."""
    deadline = time.monotonic() + limit_s
    while (left := descendants()) and time.monotonic() < deadline:
        reap(LOOK_S)
    return left


def end_all(pid: int) -> None:
    """End the group of `pid` and all descendants, also new ones: first by SIGTERM, then by SIGKILL."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        end_group(pid, number)
        deadline = time.monotonic() + GRACE_S
        told: set[int] = set()
        while (left := descendants()) and time.monotonic() < deadline:
            for each in set(left) - told:
                with suppress(ProcessLookupError):
                    os.kill(each, number)
            told |= set(left)
            reap(LOOK_S)


def end_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the group is gone; macOS then raises PermissionError
        os.killpg(pid, number)


def describe(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "ended meanwhile"
    return f"{pid} {words.strip()[:200]}"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(supervise(sys.argv[1:]))
