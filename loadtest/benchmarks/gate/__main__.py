"""`make bench-gate`: simulates how often the gate is wrong, and how soon it decides, for known true differences.

It runs `loadtest.benchmarks.gate.simulation`, and writes `out/evidence/evidence.json` and the figures in
`docs/evidence.md`. Each finished part is kept in `out/evidence/parts/`, with the digest of its code and settings. So
an interrupted run continues where it stopped. It takes about five minutes on one core.
"""

import argparse
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.benchmarks.gate import simulation
from loadtest.benchmarks.gate.fixed_sample import pairs_to_promote, pairs_to_roll_back
from loadtest.benchmarks.gate.simulation import Tick, Truth
from loadtest.harness import ROOT, ends_in_words
from serve.dataplane.router import Target, assign
from variants.document import canonical_sha256
from variants.evidence.gate import Gate, LatencyObjective
from variants.evidence.intervals import wilson
from variants.evidence.sample_ratio import ALPHA
from variants.files import sha256_of, write_atomic
from variants.progress import Progress, for_stream

CODE = [
    *sorted((ROOT / "variants" / "evidence").glob("*.py")),
    *sorted(Path(__file__).parent.glob("*.py")),
    ROOT / "serve" / "dataplane" / "router.py",
]
DOCUMENT = ROOT / "docs" / "evidence.md"
MARGIN = 0.02
WATCHED = Gate(quality=MARGIN)
"""It has only one metric, since the union bound over several could hide an error of the bounds themselves."""
WHOLE = Gate(quality=MARGIN, latency=LatencyObjective(objective_s=1.0, share=0.95), errors=0.01)
EQUAL = Truth(0.0, 0.10)
DROPS = {0.05: 0.10, 0.10: 0.15}
"""The true loss and its discordance: the loss itself and 5 points of noise."""
EVEN = {"baseline": 50.0, "int8": 50.0}
SKEWED = {"baseline": 55.0, "int8": 45.0}


@dataclass(frozen=True)
class Size:
    """The numbers of runs, and of pairs or requests in each."""

    runs: int = 2000
    pairs: int = 20_000
    deciding_runs: int = 1000
    skew_runs: int = 1000
    skew_requests: int = 5000
    fair_requests: int = 100_000


def peeking(size: Size, tick: Tick) -> dict[str, Any]:
    alarms = simulation.different(WATCHED, EQUAL, size.runs, size.pairs, 1, tick)
    return {
        "runs": size.runs,
        **share_of(alarms["different"], size.runs),
        **share_of(alarms["z_test"], size.runs, "z_test_"),
    }


def at_margin(size: Size, tick: Tick) -> dict[str, Any]:
    truth = Truth(-MARGIN, 0.10)
    promoted = simulation.promotions(WATCHED, truth, size.runs, size.pairs, 2, tick)
    rolled_back = simulation.roll_backs(WATCHED, truth, size.runs, size.pairs, 3, tick)
    return {
        "runs": size.runs,
        **share_of(int((promoted <= size.pairs).sum()), size.runs, "promoted_"),
        **share_of(int((rolled_back <= size.pairs).sum()), size.runs, "rolled_back_"),
    }


def rollback(size: Size, tick: Tick) -> list[dict[str, Any]]:
    rows = []
    for drop, discordance in DROPS.items():
        for delta in (0.0, MARGIN):
            gate = WHOLE.model_copy(update={"quality": delta})
            pairs = simulation.roll_backs(gate, Truth(-drop, discordance), size.deciding_runs, size.pairs, 4, tick)
            fixed = pairs_to_roll_back(-drop, discordance, delta, gate.alpha_each)
            rows.append({"drop": drop, "delta": delta, "discordance": discordance, **speed(pairs, fixed, size.pairs)})
    return rows


def promotion(size: Size, tick: Tick) -> dict[str, Any]:
    pairs = simulation.promotions(WHOLE, EQUAL, size.deciding_runs, size.pairs, 5, tick)
    fixed = pairs_to_promote(EQUAL.difference, EQUAL.discordance, MARGIN, WHOLE.alpha_each)
    return {"margin": MARGIN, "discordance": EQUAL.discordance, **speed(pairs, fixed, size.pairs)}


def sample_ratio(size: Size, tick: Tick) -> dict[str, Any]:
    """The real router, with weights that differ from those of the test, and with the same weights."""
    detected, alarms = [], 0
    for run in range(size.skew_runs):
        new_clients = (f"{run}-{number}" for number in itertools.count())
        detected.append(skew_in(SKEWED, new_clients, size.skew_requests))
        alarms += skew_in(EVEN, clients(run, size.fair_requests), size.fair_requests) <= size.fair_requests
        tick(run + 1, size.skew_runs)
    return {
        "runs": size.skew_runs,
        "alpha": ALPHA,
        "detected_within": int(np.percentile(detected, 95, method="higher")),
        "detected_median": int(np.median(detected)),
        "requests": size.fair_requests,
        **share_of(alarms, size.skew_runs, "false_alarm_"),
    }


def skew_in(weights: dict[str, float], clients: Iterator[str], requests: int) -> int:
    """The number of requests until routing by `weights` is seen not to follow EVEN; `requests` + 1 if it never is."""

    def choose(client: str) -> str:
        assignment = assign(Target("model"), weights, weights.keys(), client)
        assert assignment is not None
        return assignment.variant

    return simulation.skew_after(choose, EVEN, clients, requests)


def clients(run: int, requests: int) -> Iterator[str]:
    """The clients of `requests` requests, of which a few clients send most (Zipf's law, exponent 1.3)."""
    for number in np.random.default_rng([6, run]).zipf(1.3, requests):
        yield f"{run}-{number}"


def share_of(count: int, runs: int, prefix: str = "") -> dict[str, float]:
    """The share `count` of `runs`, with its 95 % interval."""
    interval = wilson(count, runs)
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
    """The figures of every part. Parts that an earlier run finished are read from `out`."""
    digest = canonical_sha256([[sha256_of(path) for path in CODE], vars(size)])
    figures = {}
    for name, part in PARTS.items():
        kept = out / "parts" / f"{name}.json"
        document = json.loads(kept.read_bytes()) if kept.is_file() else {}
        if document.get("digest") != digest:
            with progress.step(f"simulating {name}") as step:
                document = {"digest": digest, "figures": part(size, step.to)}
            write_atomic(kept, json.dumps(document).encode())
        figures[name] = document["figures"]
    return figures


def tables(figures: dict[str, Any]) -> str:
    """The figures as Markdown for the document."""
    d, m, p, s = figures["different"], figures["at_margin"], figures["promotion"], figures["sample_ratio"]
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
            for r in figures["rollback"]
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
    parser = argparse.ArgumentParser(description="Simulate the gate on pairs with a known true difference.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    figures, path = measure(given.out, Size(), for_stream()), given.out / "evidence.json"
    write_figures(path, figures, ("understudy", "numpy", "scipy"))
    put_into(DOCUMENT, "bench-gate", tables(figures))
    print(json.dumps(figures) if given.json else f"{tables(figures)}\n\n{path}")


if __name__ == "__main__":
    with ends_in_words("evidence"):
        main()
