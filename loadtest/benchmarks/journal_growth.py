"""What the controller's journal takes after many pairs: `make bench-journal`.

Synthetic batches, as one ingress at 200 pairs/s sends them twice a second, go through the journal, the state and its
checkpoints. Measured are the largest size on disk (old and new file together), the time of a start, and how long a
checkpoint stops the controller's loop. Every pair has a request and a client of its own, which is the worst case for
the names that are remembered. Ends with one JSON document in `out/journal`.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from serve.config.traffic import Traffic
from serve.control.checkpoint import Compaction, is_due, restored
from serve.control.contract import RULES
from serve.control.journal import Entry, Journal
from serve.control.rollout import Rollout, RolloutPlan
from serve.control.state import ControlState
from variants.files import write_atomic
from variants.machine import describe, versions

PARENT, VARIANT = "a" * 64, "b" * 64
PAIR = f"{PARENT}:{VARIANT}"
A_BATCH = 100
OUT = Path("out/journal/journal.json")


class Growth(NamedTuple):
    """`most_bytes` are those of all files of the folder at the worst moment. `pause_s` is the longest time that a
    checkpoint stopped the loop, `written_s` the longest of its thread. `start_s` is what a new controller needs."""

    pairs: int
    checkpoints: int
    most_bytes: int
    last_bytes: int
    pause_s: float
    written_s: float
    start_s: float
    counted: int


def begin() -> tuple[str, Entry]:
    """The entry that begins a rollout."""
    traffic = Traffic(weights={"baseline": 50.0, "int8": 50.0})
    rollout = Rollout(RolloutPlan(variant="int8"), "baseline", (PARENT, VARIANT), traffic)
    document = traffic.model_dump(mode="json")
    return "rollout", {
        "model": "m", "who": "nobody", "why": "", "version": 1, "traffic": document, "declared": document,
        "rollout": rollout.to_json(),
    }  # fmt: skip


def batch(number: int, size: int, dice: random.Random) -> tuple[str, Entry]:
    """One report of an ingress: `size` pairs, one in ten discordant, each of another client."""
    pairs: list[dict[str, Any]] = [
        {
            "id": f"{dice.getrandbits(64):016x}", "request": f"{dice.getrandbits(128):032x}", "length": 500,
            "client": f"{dice.getrandbits(64):016x}", "trusted": False, "metric": "quality", "label": "0a0b0c0d",
            "values": [float(dice.random() < 0.9), float(dice.random() < 0.9)], "shuffled": float(dice.random() < 0.1),
            "asked": True, "failed": False, "lost": None, "divergence": None,
            "segments": {"length": f"q{dice.randrange(1, 5)}", "streamed": "no"},
        }
        for _ in range(size)
    ]  # fmt: skip
    clients = {f"client-{dice.getrandbits(64):x}": dice.choice(["baseline", "int8"]) for _ in range(size)}
    model = {
        "assigned": {"1": {"clients": clients, "anonymous": {}}},
        "served": {
            digest: {
                "requests": size, "failed": 0, "left": 0, "seconds": [[1, number, size, 0.0]],
                "minutes": [[1, None, number, size, 0, 0.5, 0.9]],
            }
            for digest in (PARENT, VARIANT)
        },
        "shadows": {
            PAIR: {"seen": size, "incomparable": {}, "chosen": size, "skipped": [], "lost": {}, "pairs": pairs}
        },
    }  # fmt: skip
    return "outcomes", {"ingress": "i", "number": number, "rules": RULES, "models": {"m": model}}


def grow(folder: Path, pairs: int, seed: int = 0) -> Growth:
    """Count so many pairs in a journal in `folder`, which must be empty."""
    journal, state, dice = Journal(folder), ControlState(), random.Random(seed)
    for entry in journal.append(begin()):
        state.apply(entry)
    most, checkpoints, pause_s, written_s = 0, 0, 0.0, 0.0
    for number in range(1, pairs // A_BATCH + 1):
        for entry in journal.append(batch(number, A_BATCH, dice)):
            state.apply(entry)
        if is_due(journal):
            began = time.perf_counter()
            compaction = Compaction(journal, state)
            copied = time.perf_counter()
            compaction.write()
            written = time.perf_counter()
            most = max(most, size_of(folder))
            compaction.finish()
            pause_s = max(pause_s, copied - began, time.perf_counter() - written)
            written_s, checkpoints = max(written_s, written - copied), checkpoints + 1
            progress(number * A_BATCH, pairs)
    most, began = max(most, size_of(folder)), time.perf_counter()
    again = restored(Journal(folder))
    start_s = time.perf_counter() - began
    if again != state:
        raise AssertionError("a start gives another state than the one that was written")
    return Growth(
        pairs, checkpoints, most, size_of(folder), pause_s, written_s, start_s, again.pairs[PAIR].compared
    )  # fmt: skip


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def progress(done: int, pairs: int) -> None:
    print(f"\r{done:,} of {pairs:,} pairs", end="", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000_000)
    pairs = parser.parse_args().pairs
    with tempfile.TemporaryDirectory(prefix="understudy-journal-") as folder:
        growth = grow(Path(folder), pairs)
    print(
        f"\n{growth.pairs:,} pairs, {growth.checkpoints} checkpoints: at most {growth.most_bytes / 1e6:.1f} MB, "
        f"a start takes {growth.start_s:.2f} s.\nA checkpoint stops the loop for at most {1000 * growth.pause_s:.0f} "
        f"ms, and is written beside it in {1000 * growth.written_s:.0f} ms"
    )
    document = {"schema": 1, **growth._asdict(), "machine": describe().model_dump(mode="json"), "versions": versions()}
    write_atomic(OUT, (json.dumps(document, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
