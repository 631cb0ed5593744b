"""`make bench-adapter`: how long an adapter takes to be live in an engine that serves, and what it costs in memory.

Serves `smollm2` as the demo has it, baseline and one adapter, then applies stacks with one adapter more each. Memory
is the PSS of everything below this process, before and after each new adapter has answered. Writes
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

from loadtest.harness import ROOT, ends_in_words, interrupt_on_signals, start_server
from serve.cli.apply import apply_stack
from serve.config.loader import load, only
from serve.config.stack import Stack
from serve.engines.process import tree_pss
from serve.ports import free_port
from variants.files import write_atomic
from variants.machine import describe, versions

MODEL, ADAPTER = "smollm2", "lora"
MORE = ("second", "third", "fourth")
"""The demo's engine holds four adapters. These learn next to nothing: what loading costs does not depend on it."""
SETTLE_S = 3.0


def with_adapters(names: tuple[str, ...]) -> Stack:
    """The demo's model with its baseline, its adapter, and another for each name."""
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
    """Have a variant answer once, so that what it allocates at first use is counted. Raises httpx.HTTPError."""
    body = {"model": f"{MODEL}@{variant}", "prompt": "The film was", "max_tokens": 8}
    httpx.post(f"{url}/v1/completions", json=body, timeout=60).raise_for_status()


def measure(url: str) -> list[dict[str, Any]]:
    """One adapter after the other; seconds from the proposal until it is live, bytes once it has answered."""
    for variant in ("baseline", ADAPTER):
        answer(url, variant)
    found, before = [], memory_bytes()
    for count in range(1, len(MORE) + 1):
        change = apply_stack(with_adapters(MORE[:count]), url, dry_run=False, force=False)["change"]
        answer(url, MORE[count - 1])
        after = memory_bytes()
        found.append({"adapter": MORE[count - 1], "seconds": change["seconds"], "bytes": after - before})
        before = after
    return found


def main() -> None:
    interrupt_on_signals()
    out = ROOT / "out" / "adapter-cost"
    with ExitStack() as children:
        folder = Path(children.enter_context(tempfile.TemporaryDirectory()))
        stack = folder / "stack.yaml"
        stack.write_text(json.dumps(with_adapters(()).model_dump(mode="json", by_alias=True, exclude_none=True)))
        url = start_server(children, stack, free_port(), folder / "state")
        found = measure(url)
    out.mkdir(parents=True, exist_ok=True)
    record = {"schema": 1, "machine": describe().model_dump(), "versions": versions(), "adapters": found}
    write_atomic(out / "adapter_cost.json", (json.dumps(record, indent=2) + "\n").encode())
    seconds = [each["seconds"]["all"] for each in found]
    sizes = [each["bytes"] / 2**20 for each in found]
    print(f"{len(found)} adapters: live after {', '.join(f'{each:.2f}' for each in seconds)} s "
          f"(median {statistics.median(seconds):.2f}); {', '.join(f'{each:+.0f}' for each in sizes)} MiB")  # fmt: skip


if __name__ == "__main__":
    with ends_in_words("adapter-cost"):
        main()
