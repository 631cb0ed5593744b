"""Runs a command, and leaves none of the processes that it started: `python3 .ci/supervise.py COMMAND ...`.

Tests and demos start servers, engines and browsers in sessions of their own, and some of their children outlive their
parents. A process group or a process tree does not hold them all. So each process carries a mark in its environment,
which its children inherit, and whoever still carries it at the end is ended and named. Standard library only: this runs
before the environment is made. Where there is no /proc (macOS) only the command's own process group is ended.

SIGINT, SIGTERM and SIGHUP interrupt the command once, as Ctrl-C would. Exit codes: the command's own; 130 where it was
interrupted; 1 where the command ended well but left a process running.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

MARK = "UNDERSTUDY_SUPERVISED"
INTERRUPT_LIMIT_S = 90.0
GRACE_S = 10.0


def supervise(command: Sequence[str]) -> int:
    """Run the command to its end; gives the exit code."""
    mark = f"<{os.getpid()}.{time.time_ns()}>"
    environment = os.environ | {MARK: os.environ.get(MARK, "") + mark}
    interrupted = False

    def interrupt(*_: object) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            signal_group(process, signal.SIGINT)

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    # A session of its own: Ctrl-C in a terminal reaches this process alone, which hands it on once.
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    code = wait(process, lambda: interrupted)
    left = marked(mark)
    if left and not interrupted:
        left = still_running(left, GRACE_S)
    names = [describe(pid) for pid in left]
    end(left)
    for number, handler in before.items():
        signal.signal(number, handler)
    if interrupted:
        return 130
    for name in names:
        print(f"left running, ended now: {name}", file=sys.stderr)
    return code or int(bool(names))


def wait(process: subprocess.Popen[bytes], interrupted: object) -> int:
    """Wait for the command; one that was interrupted has INTERRUPT_LIMIT_S to end."""
    deadline = None
    while True:
        try:
            return process.wait(0.5)
        except subprocess.TimeoutExpired:
            pass
        if deadline is None and interrupted():  # type: ignore[operator]
            deadline = time.monotonic() + INTERRUPT_LIMIT_S
        if deadline is not None and time.monotonic() > deadline:
            signal_group(process, signal.SIGKILL)


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def marked(mark: str) -> list[int]:
    """The processes that carry the mark, this one left out."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes()
        except OSError:  # it has ended, or is somebody else's
            continue
        if mark.encode() in environment and is_running(int(folder.name)):
            pids.append(int(folder.name))
    return pids


def is_running(pid: int) -> bool:
    """Whether there is such a process, and it is no zombie."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def still_running(pids: Sequence[int], limit_s: float) -> list[int]:
    """Those of them that run when `limit_s` seconds have passed; sooner where none does."""
    deadline = time.monotonic() + limit_s
    while (left := [pid for pid in pids if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def describe(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        words = "ended meanwhile"
    return f"{pid} {words.strip()[:200]}"


def end(pids: Sequence[int]) -> None:
    """SIGTERM, and SIGKILL for whoever runs on."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        pids = still_running(pids, GRACE_S)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    sys.exit(supervise(sys.argv[1:]))
