"""Drives the command line that a user has, as child processes, for the demo and the benchmarks.

Each child is ended with whoever started it.
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
    """How long each phase took, in seconds."""

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
    """One command to its end. Raises EngineError where it fails; its own message has been printed."""
    process = start(children, understudy(*arguments))
    if process.wait() != 0:
        raise EngineError(f"`understudy {' '.join(arguments)}` ended with code {process.returncode}")


def interrupt_on_signals() -> None:
    """SIGINT, SIGTERM and a closed terminal raise KeyboardInterrupt, once: what follows must not disturb the ending,
    which has its own limits."""
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup's wish is kept
        numbers.append(signal.SIGHUP)

    def interrupt(*_: object) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in numbers:
        signal.signal(number, interrupt)


@contextmanager
def ends_in_words(name: str) -> Iterator[None]:
    """How the command `name` ends: what went wrong and Ctrl-C are a line and an exit code, not a traceback."""
    try:
        yield
    except UnderstudyError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"{name}: interrupted; everything it started has been ended", file=sys.stderr)
        sys.exit(130)


def start(children: ExitStack, command: list[str], **options: object) -> subprocess.Popen[str]:
    """A child in a session of its own, so that Ctrl-C reaches this process alone, which then ends the child."""
    process = subprocess.Popen(command, cwd=ROOT, text=True, start_new_session=True, **options)  # type: ignore[call-overload]
    children.callback(end, process)
    return process


def end(process: subprocess.Popen[str]) -> None:
    end_politely(process, signal.SIGINT, STOP_LIMIT_S)


def start_server(
    children: ExitStack, stack: Path, port: int, state: Path | None = None, limit_s: float = READY_LIMIT_S
) -> str:
    """Start the server and wait until every variant is ready; gives its URL. `state` is where it keeps its traffic.
    Raises EngineError."""
    options = ["--state", str(state)] if state else []
    command = understudy("serve", str(stack), "--port", str(port), "--json", *options)
    server = start(children, command, stdout=subprocess.PIPE)
    assert server.stdout is not None
    if not select.select([server.stdout], [], [], limit_s)[0]:
        raise EngineError(f"the server was not ready after {limit_s:g} s")
    line = server.stdout.readline()  # one write, so it comes whole
    if not line:
        raise EngineError(f"the server ended with code {server.wait()} before it was ready")
    try:
        return str(json.loads(line)["url"])
    except ValueError:
        raise EngineError(f"the server's first line is not its JSON: {line.strip()}") from None


def drive(children: ExitStack, url: str, campaign: str, out: Path) -> None:
    """One campaign, its records in `out`."""
    run(children, "load", "--target", url, "--campaign", campaign, "--out", str(out), "--records-only")


def end_politely(process: subprocess.Popen[Any], number: signal.Signals, limit_s: float) -> None:
    """End a child that leads a session of its own by a signal; after `limit_s` seconds by SIGKILL, its group too."""
    if process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
