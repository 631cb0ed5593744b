"""Runs a stack in the foreground: start, say where it is, wait, stop."""

import json
import signal
import sys
import threading

from serve.app import Artifacts, Cluster
from serve.stack import Model, Stack
from variants.progress import for_stream


def serve_until_stopped(stack: Stack, artifacts: Artifacts, as_json: bool) -> None:
    """Serve until SIGINT, SIGTERM or a closed terminal, then end everything that was started. Raises StackError,
    EngineError."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish is kept
            signal.signal(number, lambda *_: stop.set())
    with Cluster(stack, artifacts) as cluster:
        if not cluster.wait_until_ready(stop, for_stream()):
            return
        if as_json:
            print(json.dumps({"url": cluster.url, "models": list(stack.models)}), flush=True)
        else:
            print(welcome(stack, cluster.url), flush=True)
        stop.wait()
        print("stopping", file=sys.stderr, flush=True)


def welcome(stack: Stack, url: str) -> str:
    """The address and what to try first."""
    lines = [f"serving {', '.join(stack.models)} at {url}", "", "try:"]
    lines += [example for name, model in stack.models.items() for example in examples(url, name, model)][:2]
    lines.append(f"  curl -s {url}/admin/v1/models")
    return "\n".join([*lines, "", "Ctrl-C stops it"])


def examples(url: str, name: str, model: Model) -> list[str]:
    if model.task == "image-classification":
        return [f"  curl -s {url}/v2/models/{name}"]
    if model.task == "feature-extraction":
        body = json.dumps({"model": name, "input": "Hello"})
        return [f"  curl -s {url}/v1/embeddings -H 'content-type: application/json' -d '{body}'"]
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 32})
    return [f"  curl -s {url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'"]
