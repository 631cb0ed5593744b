"""Runs a stack in the foreground: start, say where it is, wait, stop."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from serve.app import Artifacts, Cluster
from serve.config.stack import Model, Stack
from variants.progress import for_stream


def serve_until_stopped(stack: Stack, artifacts: Artifacts, as_json: bool, state: Path | None = None) -> None:
    """`state` is where traffic and its journal are kept. Serve until SIGINT, SIGTERM or a closed terminal, then end
    everything that was started. Raises StackError, EngineError."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, lambda *_: stop.set())
    with own_output() as out, Cluster(stack, artifacts, state) as cluster:
        if not cluster.wait_until_ready(stop, for_stream()):
            return
        if as_json:
            print(json.dumps({"url": cluster.url, "models": list(stack.models)}), file=out, flush=True)
        else:
            print(welcome(stack, cluster.url), file=out, flush=True)
        stop.wait()
        print("stopping", file=sys.stderr, flush=True)


@contextmanager
def own_output() -> Iterator[TextIO]:
    """Standard output for this command alone: what Ray prints there, its raylet's warnings among it, goes to standard
    error meanwhile."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as out:
        os.dup2(2, 1)
        try:
            yield out
        finally:
            sys.stdout.flush()
            os.dup2(out.fileno(), 1)


def welcome(stack: Stack, url: str) -> str:
    """The address and what to try first."""
    lines = [f"serving {', '.join(stack.models)} at {url}", "", "try:"]
    lines += [example for name, model in stack.models.items() for example in examples(url, name, model)][:2]
    lines.append(f"  curl -s {url}/admin/v1/models")
    return "\n".join([*lines, "", "Ctrl-C stops it"])


def examples(url: str, name: str, model: Model) -> list[str]:
    if model.task in ("image-classification", "object-detection"):
        return [f"  curl -s {url}/v2/models/{name}"]
    if model.task == "text-classification":
        tensor = {"name": "text", "shape": [1], "datatype": "BYTES", "data": ["Hello"]}
        body = json.dumps({"inputs": [tensor]})
        return [f"  curl -s {url}/v2/models/{name}/infer -H 'content-type: application/json' -d '{body}'"]
    if model.task == "feature-extraction":
        body = json.dumps({"model": name, "input": "Hello"})
        return [f"  curl -s {url}/v1/embeddings -H 'content-type: application/json' -d '{body}'"]
    if model.task == "image-generation":
        body = json.dumps({"model": name, "prompt": "a handwritten 7", "seed": 1})
        return [f"  curl -s {url}/v1/images/generations -H 'content-type: application/json' -d '{body}'"]
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
    return [f"  curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"]
