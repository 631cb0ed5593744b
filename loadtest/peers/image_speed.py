"""How much faster a stack's image variants are in OpenVINO than the same published weights in torch.

Forward passes alone, in one process, one after another, each with one thread: no HTTP, no decoding. The peer is torch
in float32 as it comes (eager, contiguous) and with channels last, which is often faster on a CPU. One round measures
every way for a while, in an order that rotates; a way's ratio is to torch as it comes in the same round, so that what
slows the machine for a while slows both.

    python -m loadtest.peers.image_speed [STACK] [--model NAME] [--rounds 9] [--seconds 1] [--batch 1]

STACK is deploy/stacks/imagenet.yaml unless given; what the store lacks is built. Prints a table, images a second and
the median ratio (lowest to highest), then one JSON document.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from serve.engines.openvino_image import OpenVinoModel
from serve.making import build_stack
from serve.stack import Stack, load
from variants.home import home
from variants.machine import describe, versions
from variants.methods.published import load as load_published
from variants.source import fetch

STACK = Path("deploy/stacks/imagenet.yaml")
PEER = "torch f32"
Way = Callable[[], object]
Rounds = list[dict[str, float]]


def main() -> None:
    asked = arguments()
    torch.set_num_threads(1)
    stack = load(asked.stack)
    names = [asked.model] if asked.model else list(stack.models)
    found = {
        name: measure(ways(stack.only(name), name, asked.batch), asked.rounds, asked.seconds, asked.batch)
        for name in names
    }
    for name, rounds in found.items():
        show(name, rounds, asked.batch)
    document = {
        "schema": 1, "machine": describe().model_dump(mode="json"), "versions": versions(("torch", "openvino", "nncf")),
        "batch": asked.batch, "images_per_s": found,
    }  # fmt: skip
    print(json.dumps(document))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stack", type=Path, nargs="?", default=STACK)
    parser.add_argument("--model")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=1)
    return parser.parse_args()


def ways(stack: Stack, name: str, batch: int) -> dict[str, Way]:
    """One forward pass of each way over the same noise; each has run once."""
    published, architecture = load_published(fetch(stack.models[name].source, home()))
    shape = (batch, 3, *architecture.preprocess.size)
    pixels = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    plain = torch.from_numpy(pixels)
    last = plain.contiguous(memory_format=torch.channels_last)
    last_model, _ = load_published(fetch(stack.models[name].source, home()))
    last_model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found: dict[str, Way] = {PEER: lambda: published(plain), f"{PEER} channels last": lambda: last_model(last)}
    for (_, variant), artifact in build_stack(stack).items():
        model = OpenVinoModel(artifact.model_path / "model.xml", artifact.manifest, 1)
        found[f"{variant} ({model.executes})"] = lambda model=model: model.predict(pixels)  # type: ignore[misc]
    with torch.inference_mode():
        for way in found.values():
            way()
    return found


def measure(found: Mapping[str, Way], count: int, seconds: float, batch: int = 1) -> Rounds:
    """Images a second of each way, by round."""
    order, rounds = list(found), []
    with torch.inference_mode():
        for number in range(count):
            turn = number % len(order)
            rates = {name: rate(found[name], seconds) * batch for name in order[turn:] + order[:turn]}
            rounds.append({name: rates[name] for name in order})
    return rounds


def rate(way: Way, seconds: float) -> float:
    """Passes a second."""
    began, passes = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        way()
        passes += 1
    return passes / spent


def show(name: str, rounds: Rounds, batch: int) -> None:
    table = Table("way", "images/s", f"of {PEER}", title=f"{name}, batch {batch}, one thread, {len(rounds)} rounds")
    for way in rounds[0]:
        ratios: list[Any] = [each[way] / each[PEER] for each in rounds]
        said = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        table.add_row(way, f"{median(each[way] for each in rounds):.1f}", said)
    Console(file=sys.stderr).print(table)


if __name__ == "__main__":
    main()
