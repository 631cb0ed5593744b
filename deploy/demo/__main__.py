"""`make demo`: build, serve, load, report, and end everything that was started, after Ctrl-C too.

Drives the command line that a user has, as child processes, and times each phase. Prometheus is started beside the
server where it is installed. Peak memory is the highest sum of PSS over all processes below this one.
"""

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deploy.demo.rollout import shadow
from deploy.grafana.check import DASHBOARD, Watched, check
from deploy.prometheus.local import NOT_INSTALLED, end_politely, start_prometheus
from serve.config.loader import load
from serve.engines.process import tree_pss
from serve.ports import free_port
from variants.errors import EngineError, UnderstudyError

ROOT = Path(__file__).resolve().parents[2]
SAMPLE_S = 10.0
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


class MemoryWatch:
    """Samples the PSS of this process' whole tree; `peak` is in bytes."""

    def __init__(self) -> None:
        self.peak = 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def __enter__(self) -> "MemoryWatch":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.done.wait(SAMPLE_S):
            self.peak = max(self.peak, tree_pss(os.getpid()))


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


def demo(stack: Path, campaign: Path, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    clock = Clock()
    with ExitStack() as children, MemoryWatch() as memory:
        with clock.phase("build"):
            run(children, "build", str(stack))
        with clock.phase("evaluate"):
            run(children, "evaluate", "digits", "--stack", str(stack))
        with clock.phase("serve"), ExitStack():
            shutil.rmtree(out / "state", ignore_errors=True)
            url = start_server(children, stack, free_port(), out / "state")
        prometheus = start_prometheus(children, url, out / "prometheus")
        print(f"serving at {url}; Prometheus: {prometheus or NOT_INSTALLED}", file=sys.stderr, flush=True)
        began = time.time()
        with clock.phase("load"):
            drive(children, url, str(campaign), out)
        texts = [name for name, model in load(stack).models.items() if model.task == "text-generation"]
        if prometheus is not None and texts:  # other models leave the panels of tokens empty
            with clock.phase("dashboard"):
                watched = Watched(prometheus, began, time.time(), texts[0])
                print(check(DASHBOARD, watched), file=sys.stderr, flush=True)
        judged = [name for name in texts if "int8" in load(stack).models[name].variants]
        if judged:
            with clock.phase("shadow"):
                said = shadow(url, judged[0], out, lambda path, to: drive(children, url, path, to))
        with clock.phase("stop"):
            children.close()
    (out / "phases.json").write_text(
        json.dumps({"wall_s": clock.wall, "phases_s": clock.phases, "peak_memory_bytes": memory.peak}, indent=2)
    )
    with ExitStack() as children:
        run(children, "report", "--out", str(out))
    if judged:
        print(f"\n{said}\n")
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in clock.phases.items())
    print(f"{clock.wall:.0f} s in all: {phases}; at most {memory.peak / 2**30:.1f} GiB in use")


def main() -> None:
    parser = argparse.ArgumentParser(description="Build, serve, load and report the demo's models.")
    parser.add_argument("--stack", type=Path, default=ROOT / "deploy" / "stacks" / "demo.yaml")
    parser.add_argument("--campaign", type=Path, default=ROOT / "loadtest" / "campaigns" / "demo.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo")
    given = parser.parse_args()
    interrupt_on_signals()
    with ends_in_words("demo"):
        demo(given.stack.resolve(), given.campaign.resolve(), given.out.resolve())


if __name__ == "__main__":
    main()
