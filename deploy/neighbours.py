"""`make neighbours`: what two text engines give alone and at once, as they are started and with an environment changed.

Serves both variants in either way, four engines, and asks them in turn within each round: each alone, then two at once.
What is compared is the ratio within a round, so that a machine's moods cancel. Writes `out/neighbours/neighbours.json`.
"""

import argparse
import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from deploy.demo import ROOT, ends_in_words, interrupt_on_signals
from loadtest.peers.clients import burst
from serve.engines.launch import SPINS, launch
from serve.live import LiveVariant, live_variant
from serve.making import build_stack
from serve.measuring import running
from serve.stack import Stack, load
from variants.errors import InputError
from variants.files import write_atomic
from variants.machine import describe, versions
from variants.progress import Progress, for_stream

STACK = ROOT / "deploy" / "stacks" / "demo.yaml"
MODEL, VARIANTS = "smollm2", ("baseline", "int8")
CLIENTS, REQUESTS, TOKENS = 8, 2, 32
OUT = ROOT / "out" / "neighbours"
Rate = dict[str, float]
"""Output tokens a second, by what was asked: a variant alone, or one of both."""


def check_changes(variant: LiveVariant, changed: Mapping[str, str]) -> None:
    """Raises InputError where the variant's engine is started so already."""
    engine = variant.engine
    how = launch(engine.settings, engine.artifact.path, engine.artifact.manifest, engine.name)
    if changed.items() <= how.environment.items():
        raise InputError("engines are started with that here", field="--set", mend="another variable or value")


async def rates(ports: Mapping[str, tuple[int, str]], salt: str) -> Rate:
    """Each variant alone, then both at once; a variant's port and the name it answers to."""

    async def rate(variant: str, how: str) -> float:
        port, name = ports[variant]
        return (await burst(port, name, CLIENTS, REQUESTS, TOKENS, f"{salt}-{how}")).tokens_per_s

    found = {f"{variant} alone": await rate(variant, "alone") for variant in ports}
    beside = await asyncio.gather(*(rate(variant, "beside") for variant in ports))
    return found | {f"{variant} beside": each for variant, each in zip(ports, beside, strict=True)}


async def measure(stack: Stack, changed: Mapping[str, str], rounds: int, progress: Progress) -> list[dict[str, Rate]]:
    """By round, the rates as engines are started and as they are with `changed`. Raises EngineError."""
    artifacts = await asyncio.to_thread(build_stack, stack)
    found = []
    async with AsyncExitStack() as within:
        lives = {name: live_variant(stack, artifacts, (MODEL, name), weight=0.0) for name in VARIANTS}
        for live in lives.values():
            check_changes(live, changed)
        ways: dict[str, dict[str, tuple[int, str]]] = {}
        for way, environment in {"usual": {}, "changed": dict(changed)}.items():
            ways[way] = {}
            for variant, live in lives.items():
                process, _ = await within.enter_async_context(running(live, way, environment))
                port = urlsplit(process.url).port
                assert port is not None
                ways[way][variant] = port, live.asked_as
        with progress.step("asking in turn", total=rounds) as step:
            for number in range(rounds + 1):
                order = list(ways)[:: (-1) ** number]
                found.append({way: await rates(ways[way], f"{number}-{way}") for way in order})
                step.to(number)
    return found[1:]  # the first warms up


def table(found: list[dict[str, Rate]]) -> str:
    """Medians, and the median ratio with the lowest and the highest."""
    lines = ["| asked | as started, tokens/s | changed | ratio (lowest to highest) |", "|---|---|---|---|"]
    for asked in found[0]["usual"]:
        ratios = [each["changed"][asked] / each["usual"][asked] for each in found]
        usual, changed = (median(each[way][asked] for each in found) for way in ("usual", "changed"))
        span = f"{median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        lines.append(f"| {asked} | {usual:.0f} | {changed:.0f} | {span} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="What two engines give alone and at once, in two environments.")
    spins = [f"GOMP_SPINCOUNT={SPINS}"]
    parser.add_argument("--set", nargs="+", default=spins, metavar="NAME=VALUE", help=f"default: {spins[0]}")
    parser.add_argument("--rounds", type=int, default=8)
    given = parser.parse_args()
    interrupt_on_signals()
    if nameless := [each for each in given.set if not each.partition("=")[0] or "=" not in each]:
        raise InputError(nameless[0], field="--set", mend="NAME=VALUE")
    changed = dict(each.partition("=")[::2] for each in given.set)
    found = asyncio.run(measure(load(STACK).only(MODEL, *VARIANTS), changed, given.rounds, for_stream()))
    record: dict[str, Any] = {"schema": 1, "machine": describe().model_dump(), "versions": versions()}
    record |= {"changed": changed, "rounds": found}
    write_atomic(OUT / "neighbours.json", (json.dumps(record, indent=2) + "\n").encode())
    print(f"{given.rounds} rounds, {' '.join(given.set)}\n\n{table(found)}")


if __name__ == "__main__":
    with ends_in_words("neighbours"):
        main()
