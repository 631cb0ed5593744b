"""Runs a stack in the foreground: starts it, prints its address, waits, and stops it."""

import json
import os
import signal
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from serve.app import Artifacts, Cluster
from serve.config.lineage import VariantRef
from serve.config.stack import Stack
from serve.console.example import example
from variants.progress import for_stream


def serve_until_stopped(
    stack: Stack, artifacts: Artifacts, as_json: bool, state: Path | None = None, damaged: Collection[VariantRef] = ()
) -> None:
    """Serve until SIGINT, SIGTERM or a closed terminal, then drain, and end every process that was started. A second
    signal ends the wait.

    `state` is the folder for traffic and its journal. Variants that cannot start are named on standard error, and the
    others are served. `damaged` names variants whose artifact failed its check. Raises StackError, EngineError."""
    stop, at_once = threading.Event(), threading.Event()

    def on_signal(*_: object) -> None:
        (at_once if stop.is_set() else stop).set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, on_signal)
    with own_output() as out, Cluster(stack, artifacts, state, damaged) as cluster:
        down = cluster.wait_until_ready(stop, for_stream())
        if down is None:
            return
        for name, why in down.items():
            print(f"{name} is down and will be tried again: {why}", file=sys.stderr, flush=True)
        if as_json:
            print(json.dumps({"url": cluster.url, "models": list(stack.models), "down": down}), file=out, flush=True)
        else:
            print(welcome(stack, cluster.url), file=out, flush=True)
        stop.wait()
        print("stopping: waiting for open requests, Ctrl-C ends them", file=sys.stderr, flush=True)
        cluster.drain(at_once)


@contextmanager
def own_output() -> Iterator[TextIO]:
    """The real standard output. Inside the block, everything else that is printed there, such as warnings of Ray's
    processes, goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        try:
            yield out
        finally:
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)


def welcome(stack: Stack, url: str) -> str:
    """The address, and commands to try first."""
    lines = [f"serving {', '.join(stack.models)} at {url}", "", "try:"]
    lines += [f"  {example(url, name, model.task)}" for name, model in stack.models.items()][:2]
    lines.append(f"  curl -s {url}/admin/v1/models")
    if stack.server.console:
        lines.append(f"  open {url}/ in a browser")
    return "\n".join([*lines, "", "Ctrl-C stops it"])
