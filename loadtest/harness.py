"""Runs the `understudy` command as child processes, for the demo and the benchmarks.

Each child ends with the process that started it.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from variants.errors import EngineError, UnderstudyError

ROOT = Path(__file__).resolve().parents[1]
READY_LIMIT_S = 600.0
STOP_LIMIT_S = 60.0


class Clock:
    """Measures how long each phase takes, in seconds."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.phases: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        print(f"\n== {name}", file=sys.stderr, flush=True)
        began = time.monotonic()
        yield
        self.phases[name] = round(time.monotonic() - began, 1)

    @property
    def wall(self) -> float:
        return round(time.monotonic() - self.began, 1)


def understudy(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "serve.cli", *arguments]


def run(children: ExitStack, *arguments: str) -> None:
    """Run one `understudy` command to its end. Raises EngineError if it fails; the command prints its own message."""
    process = start(children, understudy(*arguments))
    if process.wait() != 0:
        raise EngineError(f"`understudy {' '.join(arguments)}` ended with code {process.returncode}")


def interrupt_on_signals() -> None:
    """Make SIGINT, SIGTERM and a closed terminal raise KeyboardInterrupt. Only the first signal counts, because a later
    one must not disturb the shutdown, which has its own time limits."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup ignores SIGHUP, and that stays so
        numbers.append(signal.SIGHUP)

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


@contextmanager
def ends_in_words(name: str) -> Iterator[None]:
    """Run the command `name`. An UnderstudyError or a signal ends it with one line and an exit code, and without a
    traceback."""
    interrupt_on_signals()
    try:
        yield
    except UnderstudyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; everything it started has been ended", file=sys.stderr)
        sys.exit(130)


def start(children: ExitStack, command: list[str], **options: object) -> subprocess.Popen[str]:
    """Start a child that `children` ends. It has its own session, so Ctrl-C reaches only this process, which then ends
    the child."""
    process = subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **options)  # type: ignore[call-overload]
    children.callback(end_politely, process, signal.SIGINT, STOP_LIMIT_S)
    return process


def start_server(
    children: ExitStack, stack: Path, port: int, state: Path | None = None, limit_s: float = READY_LIMIT_S
) -> str:
    """Start the server, wait until every variant is ready, and return its URL. `state` is the server's state folder.
    Raises EngineError if the server ends first, or is not ready after `limit_s` seconds."""
    options = ["--state", str(state)] if state else []
    command = understudy("serve", str(stack), "--port", str(port), "--json", *options)
    server = start(children, command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], limit_s)[0]:
        raise EngineError(f"the server was not ready after {limit_s:g} s")
    line = server.stdout.readline()  # the server writes the line at once, so none of it is missing
    if not line:
        raise EngineError(f"the server ended with code {server.wait()} before it was ready")
    try:
        return str(json.loads(line)["url"])
    except (ValueError, KeyError):
        raise EngineError(f"the server's first line is not JSON with its URL: {line.strip()}") from None


def drive(children: ExitStack, url: str, campaign: str, out: Path) -> None:
    """Run one campaign against the server at `url`, and write its records to `out`."""
    run(children, "load", "--target", url, "--campaign", campaign, "--out", str(out), "--records-only")


def end_politely(process: subprocess.Popen[Any], number: signal.Signals, limit_s: float) -> None:
    """Send the signal `number` to a child that has its own session. After `limit_s` seconds kill its process group."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
