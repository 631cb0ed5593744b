"""`make demo`: builds, evaluates, serves, loads and reports, and ends everything that it started, also after Ctrl-C.

It runs the `understudy` command as child processes, and times each phase. Prometheus runs beside the server if it is
installed. Peak memory is the highest sum of PSS over all processes below this one.
"""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from deploy.grafana.check import DASHBOARD, Watched, check
from deploy.prometheus.local import NOT_INSTALLED, start_prometheus
from loadtest.harness import ROOT, Clock, drive, ends_in_words, run, start_server
from serve.cli.rollout_text import describe_rollout
from serve.client.client import Client
from serve.config.loader import load
from serve.engines.process import tree_pss
from serve.ports import free_port
from variants.files import write_atomic

CAMPAIGNS = ROOT / "loadtest" / "campaigns"
SAMPLE_S = 10.0
ROLLOUT: dict[str, Any] = {
    "variant": "int8",
    "steps": ["shadow"],
    "shadow": 1.0,
    "hold_s": 10.0,
    "gate": {"quality": 0.05, "errors": 0.02},
}
EVALUATED = "digits"
"""The model that gets cards, because it is the fastest; the first model of a stack without it."""
SETTLE_S = 5.0
"""The time for replays that still wait when the load has ended."""


class MemoryWatch:
    """Samples the PSS of this process and its descendants. `peak` is the highest sample, in bytes."""

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


def demo(path: Path, campaign: Path, out: Path) -> None:
    """Run all phases for the stack file at `path`. Raises UnderstudyError."""
    out.mkdir(parents=True, exist_ok=True)
    clock, verdict = Clock(), ""
    models = load(path).models
    with ExitStack() as children, MemoryWatch() as memory:
        with clock.phase("build"):
            run(children, "build", str(path))
        with clock.phase("evaluate"):
            run(children, "evaluate", EVALUATED if EVALUATED in models else next(iter(models)), "--stack", str(path))
        with clock.phase("serve"):
            shutil.rmtree(out / "state", ignore_errors=True)
            url = start_server(children, path, free_port(), out / "state")
        prometheus = start_prometheus(children, url, out / "prometheus")
        print(f"serving at {url}; Prometheus: {prometheus or NOT_INSTALLED}", file=sys.stderr, flush=True)
        began = time.time()
        with clock.phase("load"):
            drive(children, url, str(campaign), out)
        texts = {name: model for name, model in models.items() if model.task == "text-generation"}
        if prometheus is not None and texts:  # without a text model the panels of tokens have no data
            with clock.phase("dashboard"):
                watched = Watched(prometheus, began, time.time(), next(iter(texts)))
                print(check(DASHBOARD, watched), file=sys.stderr, flush=True)
        if name := next((name for name, model in texts.items() if ROLLOUT["variant"] in model.variants), None):
            with clock.phase("shadow"):
                verdict = shadow(children, url, name, out)
        with clock.phase("stop"):
            children.close()
    (out / "phases.json").write_text(
        json.dumps({"wall_s": clock.wall, "phases_s": clock.phases, "peak_memory_bytes": memory.peak}, indent=2)
    )
    with ExitStack() as children:
        run(children, "report", "--out", str(out))
    if verdict:
        print(f"\n{verdict}\n")
    phases = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in clock.phases.items())
    print(f"{clock.wall:.0f} s in all: {phases}; at most {memory.peak / 2**30:.1f} GiB in use")


def shadow(children: ExitStack, url: str, model: str, out: Path) -> str:
    """Begin a rollout, send it labelled requests, end it, and return its verdict as text. Writes `verdict.json`.

    Raises the server's errors."""
    client = Client(url)
    client.start_rollout(model, ROLLOUT)
    drive(children, url, str(CAMPAIGNS / "shadow.yaml"), out / "shadow")
    deadline = time.monotonic() + SETTLE_S
    while (answer := client.rollout(model))["rollout"]["status"] == "running" and time.monotonic() < deadline:
        time.sleep(0.5)
    if answer["rollout"]["status"] == "running":
        client.steer_rollout(model, "abort")
    write_atomic(out / "verdict.json", (json.dumps(answer, indent=2) + "\n").encode())
    return describe_rollout(answer)


def main() -> None:
    parser = argparse.ArgumentParser(description="Build, serve, load and report the demo's models.")
    parser.add_argument("--stack", type=Path, default=ROOT / "deploy" / "stacks" / "demo.yaml")
    parser.add_argument("--campaign", type=Path, default=CAMPAIGNS / "demo.yaml")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "demo")
    given = parser.parse_args()
    with ends_in_words("demo"):
        demo(given.stack.resolve(), given.campaign.resolve(), given.out.resolve())


if __name__ == "__main__":
    main()
