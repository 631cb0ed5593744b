"""`make demo`: build, serve, load, report, and end everything that was started, after Ctrl-C too.

Drives the command line that a user has, as child processes, and times each phase. Prometheus is started beside the
server where it is installed. Peak memory is the highest sum of PSS over all processes below this one.
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

from deploy.demo.rollout import shadow
from deploy.grafana.check import DASHBOARD, Watched, check
from deploy.prometheus.local import NOT_INSTALLED, start_prometheus
from loadtest.harness import ROOT, Clock, drive, ends_in_words, interrupt_on_signals, run, start_server
from serve.config.loader import load
from serve.engines.process import tree_pss
from serve.ports import free_port

SAMPLE_S = 10.0


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
