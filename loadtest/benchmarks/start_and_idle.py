"""`make bench-start`: how soon a stack's variants answer, and what an idle server costs.

Serves the stack that STACK names, whose variants have to be built. It notes when each variant is ready, in wall seconds
and in CPU-seconds of all the server's processes. Then it leaves the server alone and measures what each kind of process
takes of the machine. CPU-seconds are what other work on the machine changes least. Shares are of all processors.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from loadtest.benchmarks.figures import write_figures
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, start, understudy
from serve.client.readiness import readiness_of
from serve.config.loader import load
from serve.ports import free_port

POLL_S = 0.25
START_LIMIT_S = 900.0
SETTLES_S = 15.0
"""Between the last variant's start and the first reading: each deployment has probed its engine by then."""
ROLES = {
    "ray::ServeController": "Ray Serve's controller",
    "ray::ServeReplica:ingress": "the ingress",
    "ray::ServeReplica:controller": "our controller",
    "ray::ServeReplica": "deployments of engines",
    "ray::HAProxy": "HAProxy's actor",
    "ray::Proxy": "HAProxy's actor",
    "haproxy": "HAProxy",
    "serve.engines.warm": "warmed processes",
    "serve.engines.vllm": "engines of vLLM",
    "VLLM::": "engines of vLLM",
    "serve.engines.": "other engines",
    "serve.cli": "the command",
    "dashboard": "Ray's dashboard and its agent",
    "runtime_env": "Ray's agent of environments",
    "log_monitor": "Ray's log monitor",
    "gcs_server": "Ray's GCS",
    "/raylet": "the raylet",
    "ray::IDLE": "Ray's idle workers",
}
"""By a part of the command line; the first that fits."""


@dataclass
class Readings:
    """CPU-seconds by role, of all processes below one, the ended among them as far as they were seen."""

    pid: int
    seen: dict[tuple[int, float], tuple[str, float]] = field(default_factory=dict)

    def take(self) -> dict[str, float]:
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.pid)
            for process in [root, *root.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                    times = process.cpu_times()
                    key = process.pid, process.create_time()
                    self.seen[key] = role_of(process.cmdline()), times.user + times.system
        total: dict[str, float] = defaultdict(float)
        for role, seconds in self.seen.values():
            total[role] += seconds
        return dict(total)


def role_of(command: list[str]) -> str:
    """What a process of the server is for, from its command line."""
    words = " ".join(command)
    for part, role in ROLES.items():
        if part in words:
            return role
    return "other"


def follow(url: str, names: list[str], server: subprocess.Popen[str], readings: Readings) -> dict[str, Any]:
    """When each variant was ready, and what starting took. Raises LoadError if the server ends, or takes too long."""
    began, ready = time.monotonic(), dict[str, float]()
    while len(ready) < len(names):
        if server.poll() is not None:
            raise LoadError(f"the server ended with {server.returncode}", mend="run understudy serve on this stack")
        if time.monotonic() - began > START_LIMIT_S:
            raise LoadError(f"{len(names) - len(ready)} variants were not ready after {START_LIMIT_S:g} s")
        readings.take()
        down = {model: each["down"] for model, each in readiness_of(url).items()}
        for name in names:
            model, _, variant = name.partition("@")
            if model in down and variant not in down[model] and name not in ready:
                ready[name] = round(time.monotonic() - began, 2)
                print(f"{ready[name]:7.1f} s  {name}", file=sys.stderr, flush=True)
        time.sleep(POLL_S)
    by_role = readings.take()
    return {"seconds": ready, "cpu_seconds": rounded(by_role), "all_cpu_seconds": round(sum(by_role.values()), 2)}


def idle(readings: Readings, seconds: float) -> dict[str, Any]:
    """The share of all processors that each role takes over `seconds` without requests."""
    time.sleep(SETTLES_S)
    before, began = readings.take(), time.monotonic()
    time.sleep(seconds)
    after, took = readings.take(), time.monotonic() - began
    whole = took * (psutil.cpu_count() or 1)
    shares = {role: (cpu_s - before.get(role, 0.0)) / whole for role, cpu_s in after.items()}
    return {"over_s": round(took, 1), "share": rounded(shares, 5), "all": round(sum(shares.values()), 5)}


def rounded(figures: dict[str, float], digits: int = 2) -> dict[str, float]:
    return {name: round(figure, digits) for name, figure in sorted(figures.items(), key=lambda each: -each[1])}


def measure(stack: Path, seconds: float, out: Path) -> dict[str, Any]:
    """Serve the stack once on a free port. Raises LoadError, and the errors of a stack file."""
    models = load(stack).models
    names = [f"{model}@{variant}" for model, each in models.items() for variant in each.variants]
    port = free_port()
    command = understudy("serve", str(stack), "--port", str(port), "--state", str(out / "state"), "--json")
    with ExitStack() as children:
        server = start(children, command, stdout=subprocess.DEVNULL)
        readings = Readings(server.pid)
        started = follow(f"http://127.0.0.1:{port}", names, server, readings)
        return {"variants": len(names), "start": started, "idle": idle(readings, seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how soon variants answer, and what an idle server costs.")
    parser.add_argument("--stack", type=Path, default=ROOT / "deploy/stacks/demo.yaml")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the server idles (default 60)")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "start")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    figures = measure(given.stack.resolve(), given.seconds, out)
    write_figures(out / "start.json", figures)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    with ends_in_words("bench-start"):
        main()
