"""`make bench-adapter`: measures how long a running engine takes to load an adapter, and how much memory that costs.

It serves the demo's `smollm2` with its baseline and one adapter. Then it applies three stacks, each with one more
adapter. Memory is the PSS of all processes below this one, before and after each new adapter has answered. It writes
`out/adapter-cost/adapter_cost.json`.
"""

import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil

from loadtest.benchmarks.figures import write_figures
from loadtest.harness import ROOT, ends_in_words, start_server
from serve.cli.apply import apply_stack
from serve.config.loader import load, only
from serve.config.stack import Stack
from serve.engines.process import tree_pss
from serve.ports import free_port

MODEL, ADAPTER = "smollm2", "lora"
MORE = ("second", "third", "fourth")
"""The demo's engine holds four adapters. These are trained for two steps, as training does not change the load time."""
SETTLE_S = 3.0


def with_adapters(names: tuple[str, ...]) -> Stack:
    """The demo's model with its baseline, its adapter, and one more adapter for each name."""
    stack = only(load(ROOT / "deploy" / "stacks" / "demo.yaml"), MODEL, "baseline", ADAPTER)
    model = stack.models[MODEL]
    adapter = model.variants[ADAPTER]
    brief = adapter.model_copy(update={"recipe": adapter.recipe.model_copy(update={"steps": 2})})
    variants = {**model.variants, **dict.fromkeys(names, brief)}
    return stack.model_copy(update={"models": {MODEL: model.model_copy(update={"variants": variants})}})


def memory_bytes() -> int:
    time.sleep(SETTLE_S)
    return sum(tree_pss(child.pid) for child in psutil.Process().children())


def answer(url: str, variant: str) -> None:
    """Ask a variant once, so that the memory of its first use is counted. Raises httpx.HTTPError."""
    body = {"model": f"{MODEL}@{variant}", "prompt": "The film was", "max_tokens": 8}
    httpx.post(f"{url}/v1/completions", json=body, timeout=60).raise_for_status()


def measure(url: str) -> list[dict[str, Any]]:
    """Add one adapter after the other: the seconds from the proposal until it is live, and the bytes after its first
    answer."""
    for variant in ("baseline", ADAPTER):
        answer(url, variant)
    adapters, before = [], memory_bytes()
    for number, name in enumerate(MORE, 1):
        change = apply_stack(with_adapters(MORE[:number]), url, dry_run=False, force=False)["change"]
        answer(url, name)
        after = memory_bytes()
        adapters.append({"adapter": name, "seconds": change["seconds"], "bytes": after - before})
        before = after
    return adapters


def main() -> None:
    with ExitStack() as children:
        folder = Path(children.enter_context(tempfile.TemporaryDirectory()))
        stack = folder / "stack.yaml"
        stack.write_text(json.dumps(with_adapters(()).as_document()))
        url = start_server(children, stack, free_port(), folder / "state")
        adapters = measure(url)
    write_figures(ROOT / "out" / "adapter-cost" / "adapter_cost.json", {"adapters": adapters})
    seconds = [adapter["seconds"]["all"] for adapter in adapters]
    sizes = ", ".join(f"{adapter['bytes'] / 2**20:+.0f}" for adapter in adapters)
    print(
        f"{len(adapters)} adapters: live after {', '.join(f'{each:.2f}' for each in seconds)} s "
        f"(median {statistics.median(seconds):.2f}); {sizes} MiB"
    )


if __name__ == "__main__":
    with ends_in_words("adapter-cost"):
        main()
