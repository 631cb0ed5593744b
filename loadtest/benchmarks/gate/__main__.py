"""`make bench-gate`: how often the gate is wrong and how soon it is right, where the truth is known.

Runs the simulations of `loadtest.benchmarks.gate.simulation`, writes `out/evidence/evidence.json` and the figures in
`docs/evidence.md`. Each part that is done is kept in `out/evidence/parts/` under the digest of the code and settings
that made it, so a run that was broken off goes on where it stopped. About five minutes on one core.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.benchmarks.gate import simulation
from loadtest.benchmarks.gate.document import put_into
from loadtest.benchmarks.gate.fixed_sample import pairs_to_promote, pairs_to_roll_back
from loadtest.benchmarks.gate.simulation import Truth
from loadtest.harness import ROOT, interrupt_on_signals
from serve.dataplane.router import Target, assign
from variants.document import canonical_sha256
from variants.evidence.gate import Gate, LatencyObjective
from variants.evidence.intervals import Interval, wilson
from variants.evidence.sample_ratio import ALPHA
from variants.files import sha256_of, write_atomic
from variants.machine import describe, versions
from variants.progress import Progress, for_stream

CODE = [
    *sorted((ROOT / "variants" / "evidence").glob("*.py")),
    *sorted(Path(__file__).parent.glob("*.py")),
    ROOT / "serve" / "dataplane" / "router.py",
]
DOCUMENT = ROOT / "docs" / "evidence.md"
MARGIN = 0.02
WATCHED = Gate(quality=MARGIN)
"""One metric: no union bound that would hide an error of the bounds themselves."""
WHOLE = Gate(quality=MARGIN, latency=LatencyObjective(objective_s=1.0, share=0.95), errors=0.01)
EQUAL = Truth(0.0, 0.10)
DROPS = {0.05: 0.10, 0.10: 0.15}
"""How much is lost, and the discordance: of 10 points all of it the variant's fault, and 5 of noise."""
EVEN = {"baseline": 50.0, "int8": 50.0}
SKEWED = {"baseline": 55.0, "int8": 45.0}


@dataclass(frozen=True)
class Size:
    """How much is simulated."""

    runs: int = 2000
    pairs: int = 20_000
    deciding_runs: int = 1000
    skew_runs: int = 1000
    skew_requests: int = 5000
    fair_requests: int = 100_000


Tick = Callable[[int, int], None]


def peeking(size: Size, tick: Tick) -> dict[str, Any]:
    found = simulation.different(WATCHED, EQUAL, size.runs, size.pairs, 1, tick)
    return {
        "runs": size.runs,
        **share_of(found["different"], size.runs),
        **share_of(found["z_test"], size.runs, "z_test_"),
    }


def at_margin(size: Size, tick: Tick) -> dict[str, Any]:
    truth, half = Truth(-MARGIN, 0.10), size.runs
    promoted = simulation.promotions(WATCHED, truth, half, size.pairs, 2, tick)
    rolled_back = simulation.roll_backs(WATCHED, truth, half, size.pairs, 3, tick)
    return {
        "runs": size.runs,
        **share_of(int((promoted <= size.pairs).sum()), size.runs, "promoted_"),
        **share_of(int((rolled_back <= size.pairs).sum()), size.runs, "rolled_back_"),
    }


def rollback(size: Size, tick: Tick) -> list[dict[str, Any]]:
    found = []
    for drop, discordance in DROPS.items():
        for delta in (0.0, MARGIN):
            gate = WHOLE.model_copy(update={"quality": delta})
            pairs = simulation.roll_backs(gate, Truth(-drop, discordance), size.deciding_runs, size.pairs, 4, tick)
            fixed = pairs_to_roll_back(-drop, discordance, delta, gate.alpha_each)
            found.append({"drop": drop, "delta": delta, "discordance": discordance, **speed(pairs, fixed, size.pairs)})
    return found


def promotion(size: Size, tick: Tick) -> dict[str, Any]:
    pairs = simulation.promotions(WHOLE, EQUAL, size.deciding_runs, size.pairs, 5, tick)
    fixed = pairs_to_promote(EQUAL.difference, EQUAL.discordance, MARGIN, WHOLE.alpha_each)
    return {"margin": MARGIN, "discordance": EQUAL.discordance, **speed(pairs, fixed, size.pairs)}


def sample_ratio(size: Size, tick: Tick) -> dict[str, Any]:
    """The router as it is, asked with weights that are not those in force, and with those that are."""
    found, alarms = [], 0
    for run in range(size.skew_runs):
        found.append(skew_in(SKEWED, new_clients(run), size.skew_requests))
        alarms += skew_in(EVEN, clients(run, size.fair_requests), size.fair_requests) <= size.fair_requests
        tick(run + 1, size.skew_runs)
    return {
        "runs": size.skew_runs,
        "alpha": ALPHA,
        "detected_within": int(np.percentile(found, 95, method="higher")),
        "detected_median": int(np.median(found)),
        "requests": size.fair_requests,
        **share_of(alarms, size.skew_runs, "false_alarm_"),
    }


def skew_in(weights: dict[str, float], clients: Iterator[str], requests: int) -> int:
    def choose(client: str) -> str:
        assignment = assign(Target("model"), weights, weights.keys(), client)
        assert assignment is not None
        return assignment.variant

    return simulation.skew_found(choose, EVEN, clients, requests)


def new_clients(run: int) -> Iterator[str]:
    """Each request from another client."""
    return (f"{run}-{number}" for number in itertools.count())


def clients(run: int, requests: int) -> Iterator[str]:
    """Heavy-tailed: a few clients send most requests (Zipf, exponent 1.3)."""
    for number in np.random.default_rng([6, run]).zipf(1.3, requests):
        yield f"{run}-{number}"


def share_of(found: int, runs: int, prefix: str = "") -> dict[str, float]:
    """A share with its 95 % interval."""
    interval: Interval = wilson(found, runs)
    return {f"{prefix}share": interval.value, f"{prefix}low": interval.low, f"{prefix}high": interval.high}


def speed(pairs: simulation.Counts, fixed: int, most: int) -> dict[str, Any]:
    decided = int((pairs <= most).sum())
    median = int(np.median(pairs))
    return {
        "runs": len(pairs),
        "median_pairs": median,
        "p90_pairs": int(np.percentile(pairs, 90)),
        "fixed_sample_pairs": fixed,
        "ratio": round(median / fixed, 3),
        "decided_share": decided / len(pairs),
    }


PARTS: dict[str, Callable[[Size, Tick], Any]] = {
    "different": peeking,
    "at_margin": at_margin,
    "rollback": rollback,
    "promotion": promotion,
    "sample_ratio": sample_ratio,
}


def measure(out: Path, size: Size, progress: Progress) -> dict[str, Any]:
    """Every part, those done before read from `out`."""
    digest = canonical_sha256([[sha256_of(path) for path in CODE], vars(size)])
    found = {}
    for name, part in PARTS.items():
        kept = out / "parts" / f"{name}.json"
        document = json.loads(kept.read_bytes()) if kept.is_file() else {}
        if document.get("digest") != digest:
            with progress.step(f"simulating {name}") as step:
                document = {"digest": digest, "figures": part(size, step.to)}
            write_atomic(kept, json.dumps(document).encode())
        found[name] = document["figures"]
    return found


def write(out: Path, found: dict[str, Any]) -> Path:
    """`evidence.json`, with the machine and versions."""
    document = {
        "schema": 1,
        "machine": describe().model_dump(mode="json"),
        "versions": versions(("understudy", "numpy", "scipy")),
        **found,
    }
    path = out / "evidence.json"
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())
    return path


def tables(found: dict[str, Any]) -> str:
    """The figures as they stand in the document."""
    d, m, p, s = found["different"], found["at_margin"], found["promotion"], found["sample_ratio"]
    lines = [
        f"| looked at after every pair, {d['runs']} runs of up to 20,000 pairs, 10 % discordant "
        "| share (95 % interval) |",
        "|---|---|",
        f"| no difference: *different* is ever raised | {percent(d)} |",
        f"| no difference: a z-test of 5 %, looked at the same way, ever rejects | {percent(d, 'z_test_')} |",
        f"| d = -{MARGIN:g}, just not allowed: ever promoted | {percent(m, 'promoted_')} |",
        f"| d = -{MARGIN:g}, just allowed: ever rolled back | {percent(m, 'rolled_back_')} |",
        "",
        "| whole gate (quality, latency, errors; alpha 0.05 / 3 each) | median pairs | exact McNemar, one look | ratio "
        "| decided within 20,000 |",
        "|---|---|---|---|---|",
        *(
            f"| roll back, {r['drop'] * 100:.0f} points lost, delta {r['delta'] * 100:.0f} points | {deciding(r)} |"
            for r in found["rollback"]
        ),
        f"| promote an equal variant, margin {p['margin'] * 100:.0f} points | {deciding(p)} |",
        "",
        f"Sample ratio, {s['runs']} runs with the router itself: 55/45 where the weights say 50/50 is flagged within "
        f"{s['detected_within']} assignments in 95 % of runs (median {s['detected_median']}); at 50/50, heavy-tailed "
        f"sticky clients, {s['requests']:,} requests, {percent(s, 'false_alarm_')} of runs are flagged.",
    ]
    return "\n".join(lines)


def percent(figures: dict[str, Any], prefix: str = "") -> str:
    value, low, high = (figures[f"{prefix}{name}"] * 100 for name in ("share", "low", "high"))
    return f"{value:.2f} % ({low:.2f} to {high:.2f})"


def deciding(figures: dict[str, Any]) -> str:
    return (
        f"{figures['median_pairs']} | {figures['fixed_sample_pairs']} | {figures['ratio']:.2f} "
        f"| {figures['decided_share'] * 100:.1f} %"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the gate where the truth is known.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    interrupt_on_signals()
    found = measure(given.out, Size(), for_stream())
    path = write(given.out, found)
    put_into(DOCUMENT, "bench-gate", tables(found))
    print(json.dumps(found) if given.json else f"{tables(found)}\n\n{path}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("evidence: interrupted; what is done is kept", file=sys.stderr)
        sys.exit(130)
