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
from loadtest.benchmarks.gate.rows import (
    ATTACKS,
    HONEST,
    NULLS,
    ON_CARD,
    PARENT,
    Row,
    bets_of,
    judge_questions,
    measured,
    requests_to_return,
)  # fmt: skip
from loadtest.benchmarks.gate.simulation import Tick, Truth
from loadtest.benchmarks.gate.traffic import BLOCK, NEVER, Numbers, Pairs, drawn, verdicts
from loadtest.harness import ROOT, ends_in_words
from serve.dataplane.router import Target, assign
from variants.document import canonical_sha256
from variants.evidence.gate import Gate, LatencyObjective
from variants.evidence.intervals import wilson
from variants.evidence.paired import bets_on_harm
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
"""Three metrics, which share the alpha of a proof of harm. A promotion needs no share of it."""
EQUAL = Truth(0.0, 0.10)
CASES = {"10 % discordant": 0.10, "2 % discordant": 0.02, "identical answers": 0.0}
FAILING = 0.1
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
    row_runs: int = 2000
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
    bets = bets_on_harm(truth.discordance, MARGIN)
    rolled_back = simulation.roll_backs(WATCHED, truth, size.runs, size.pairs, 3, tick, bets)
    return {
        "runs": size.runs,
        **share_of(int((promoted <= size.pairs).sum()), size.runs, "promoted_"),
        **share_of(int((rolled_back <= size.pairs).sum()), size.runs, "rolled_back_"),
    }


def promotion(size: Size, tick: Tick) -> list[dict[str, Any]]:
    """An equal variant, by labels that tell right from wrong, with the bets that its card suggests. In the step
    `shadow`, where requests of its own clients cannot be known yet."""
    rows = []
    for number, (name, discordance) in enumerate(CASES.items()):
        promoted = []
        for begun in range(0, size.deciding_runs, BLOCK):
            random = np.random.default_rng([5, number, begun])
            shape = (min(BLOCK, size.deciding_runs - begun), size.pairs)
            pairs = Pairs(*drawn(random, shape, PARENT, 0.0, discordance))
            promoted.append(verdicts(pairs, WHOLE, ON_CARD, bets_of(discordance))[0])
            tick(begun + BLOCK, size.deciding_runs)
        rows.append({"case": f"promote an equal variant, {name}", **percentiles(np.concatenate(promoted), size.pairs)})
        fixed = {"p50": 0.5, "p80": 0.8} if discordance > MARGIN else {}  # McNemar needs more discordance than that
        for at, power in fixed.items():
            needed = pairs_to_promote(0.0, discordance, MARGIN, WHOLE.alpha, power)
            rows[-1][f"fixed_sample_{at}"] = needed
    return rows


def returned(size: Size, tick: Tick) -> list[dict[str, Any]]:
    """Roll-backs: by pairs, with the bets that a card with this discordance suggests, and by the requests of a
    variant's own clients."""
    rows = []
    for drop, discordance in DROPS.items():
        gate = WHOLE
        truth = Truth(-drop, discordance)
        bets = bets_on_harm(discordance, MARGIN)
        pairs = simulation.roll_backs(gate, truth, size.deciding_runs, size.pairs, 4, tick, bets)
        row = {"case": f"roll back {drop * 100:.0f} points, delta 2 points", **percentiles(pairs, size.pairs)}
        for at, power in {"p50": 0.5, "p80": 0.8}.items():
            row[f"fixed_sample_{at}"] = pairs_to_roll_back(-drop, discordance, MARGIN, gate.alpha_each, power)
        rows.append(row)
    requests = requests_to_return(size.deciding_runs, FAILING)
    rows.append({"case": "requests of its clients until a variant that fails at 10 % is returned",
                 **percentiles(requests, int(NEVER) - 1)})  # fmt: skip
    return rows


def percentiles(decided: Numbers | simulation.Counts, most: int) -> dict[str, Any]:
    """The median, the 80th and the 95th percentile; None where so many runs are undecided after `most` pairs."""
    figures = {}
    for at in (50, 80, 95):
        value = int(np.percentile(decided, at, method="higher"))
        figures[f"p{at}"] = value if value <= most else None
    return {"runs": len(decided), **figures, "fixed_sample_p50": None, "fixed_sample_p80": None}


def pairs_needed(size: Size, tick: Tick) -> list[dict[str, Any]]:
    return promotion(size, tick) + returned(size, tick)


def questions(size: Size, tick: Tick) -> int | None:
    """The median number of questions to a judge; None where half of the runs are undecided."""
    asked = judge_questions(size.deciding_runs)
    tick(size.deciding_runs, size.deciding_runs)
    figure: int | None = percentiles(asked, int(NEVER) - 1)["p50"]
    return figure


def every(rows: list[Row]) -> Callable[[Size, Tick], list[dict[str, object]]]:
    return lambda size, tick: [measured(row, size.row_runs, 7, tick) for row in rows]


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


PARTS: dict[str, Callable[[Size, Tick], Any]] = {
    "different": peeking,
    "at_margin": at_margin,
    "pairs": pairs_needed,
    "judge_questions_p50": questions,
    "sample_ratio": sample_ratio,
    "nulls": every(NULLS),
    "attacks": every([*ATTACKS, *HONEST]),
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
    d, m, s = figures["different"], figures["at_margin"], figures["sample_ratio"]
    lines = [
        f"| looked at after every pair, {d['runs']} runs of up to 20,000 pairs, 10 % discordant "
        "| share (95 % interval) |",
        "|---|---|",
        f"| no difference: *different* is ever raised | {percent(d)} |",
        f"| no difference: a z-test of 5 %, looked at the same way, ever rejects | {percent(d, 'z_test_')} |",
        f"| d = -{MARGIN:g}, just not allowed: ever promoted | {percent(m, 'promoted_')} |",
        f"| d = -{MARGIN:g}, just allowed: ever rolled back | {percent(m, 'rolled_back_')} |",
        "",
        "| pairs until the decision (quality, latency, errors in one gate) | p50 | p80 | p95 | one look, p50 | p80 |",
        "|---|---|---|---|---|---|",
        *(deciding(row) for row in figures["pairs"]),
        "",
        "With a judge that is asked only where answers differ, at 2 % discordance: "
        f"{figures['judge_questions_p50']} questions in the median run until an equal variant is promoted.",
        "",
        f"| {figures['nulls'][0]['runs']} runs each | promoted | rolled back | withheld | wrong is | limit |",
        "|---|---|---|---|---|---|",
        *(told(row) for row in [*figures["nulls"], *figures["attacks"]]),
        "",
        f"Sample ratio, {s['runs']} runs with the router itself: 55/45 where the weights say 50/50 is flagged within "
        f"{s['detected_within']} assignments in 95 % of runs (median {s['detected_median']}); at 50/50, heavy-tailed "
        f"sticky clients, {s['requests']:,} requests, {percent(s, 'false_alarm_')} of runs are flagged.",
    ]
    return "\n".join(lines)


def percent(figures: dict[str, Any], prefix: str = "") -> str:
    value, low, high = (figures[f"{prefix}{name}"] * 100 for name in ("share", "low", "high"))
    return f"{value:.2f} % ({low:.2f} to {high:.2f})"


def deciding(row: dict[str, Any]) -> str:
    figures = [row["p50"], row["p80"], row["p95"], row["fixed_sample_p50"], row["fixed_sample_p80"]]
    return f"| {row['case']} | {' | '.join('-' if each is None else f'{each:,}' for each in figures)} |"


def told(row: dict[str, Any]) -> str:
    each = [f"{row[f'{name}_share'] * 100:.1f} %" for name in ("promoted", "rolled_back", "withheld")]
    return f"| {row['name']} | {' | '.join(each)} | {row['wrong'].replace('_', ' ')} | {row['limit'] * 100:.0f} % |"


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
