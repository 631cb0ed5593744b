"""`make demo` and `understudy demo`: serve, build, evaluate, load and report, and end everything that was started.

The server starts with the baselines that need no training, so there is something to ask within minutes. The other
variants join it when they are built. The demo runs the `understudy` command as child processes, and times each phase.
Prometheus runs beside the server if it is installed. Peak memory is the highest sum of PSS over all processes below
this one.
"""

import json
import os
import shutil
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.check import DASHBOARD, Watched, check
from deploy.prometheus.local import NOT_INSTALLED, start_prometheus
from loadtest.campaign.schema import read_campaign
from loadtest.harness import ROOT, Clock, drive, run, start_server
from serve.cli.rollout_text import describe_rollout
from serve.client.client import Client
from serve.config.loader import load, parse
from serve.config.stack import Stack
from serve.engines.process import tree_pss
from serve.ports import free_port
from variants.files import write_atomic

STATE = "demo-state"
"""The folder of the server's state, which each demo removes: a home's own `state` has journals, so it is not that."""
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
    models = load(path).models
    read_campaign(campaign)
    out.mkdir(parents=True, exist_ok=True)
    clock, verdict = Clock(), ""
    with ExitStack() as children, MemoryWatch() as memory:
        shutil.rmtree(out / STATE, ignore_errors=True)
        port, url = free_port(), None
        if baselines := baselines_of(load(path)):
            with clock.phase("first answers"):
                url = start_server(children, written(baselines, out / "first.yaml"), port, out / STATE)
            print(f"after {clock.wall:.0f} s: {try_it(url, baselines)}", file=sys.stderr, flush=True)
        with clock.phase("build"):
            run(children, "build", str(path))
        with clock.phase("evaluate"):
            run(children, "evaluate", EVALUATED if EVALUATED in models else next(iter(models)), "--stack", str(path))
        with clock.phase("serve"):
            if url is None:
                url = start_server(children, path, port, out / STATE)
            else:
                run(children, "apply", str(path), "--target", url)
        prometheus = start_prometheus(children, url, out / "demo-prometheus")
        print(f"serving all at {url}; Prometheus: {prometheus or NOT_INSTALLED}", file=sys.stderr, flush=True)
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


def baselines_of(stack: Stack) -> Stack | None:
    """The variants that are the source as it is, without training. None if there is none."""
    document = stack.as_document()
    models = {}
    for name, model in stack.models.items():
        quick = [
            each for each, variant in model.variants.items() if variant.recipe.kind == "baseline" and variant.weight
        ]
        if quick:
            rest = {key: value for key, value in document["models"][name].items() if key not in ("traffic", "rollout")}
            models[name] = rest | {"variants": {each: rest["variants"][each] for each in quick}}
    return parse(document | {"models": models}) if models else None


def written(stack: Stack, path: Path) -> Path:
    write_atomic(path, yaml.safe_dump(stack.as_document(), sort_keys=False).encode())
    return path


def try_it(url: str, stack: Stack) -> str:
    """What is served, and a command that asks it."""
    names = ", ".join(f"{name}@{variant}" for name, model in stack.models.items() for variant in model.variants)
    texts = [name for name, model in stack.models.items() if model.task == "text-generation"]
    command = f"curl {url}/v1/models"
    if texts:
        body = {"model": texts[0], "messages": [{"role": "user", "content": "Say hello."}]}
        command = f"curl {url}/v1/chat/completions -H 'content-type: application/json' -d '{json.dumps(body)}'"
    return f"{names} answer at {url}. Try:\n  {command}"


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
