"""The parts of `make bench-gate`: what is simulated, each with its figures.

A part that is finished is kept, with the digest of its code and settings. So an interrupted run continues where it
stopped. Two parts run at once where there are two cores.
"""

import itertools
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.benchmarks.gate import simulation
from loadtest.benchmarks.gate.fixed_sample import pairs_to_promote, pairs_to_roll_back
from loadtest.benchmarks.gate.rollout_rows import ROLLOUTS
from loadtest.benchmarks.gate.row import MARGIN, ON_CARD, PARENT, Row, measured
from loadtest.benchmarks.gate.rows import ATTACKS, HONEST, NULLS, bets_of, judge_questions, requests_to_return
from loadtest.benchmarks.gate.simulation import Tick, Truth
from loadtest.benchmarks.gate.traffic import BLOCK, NEVER, Numbers, Pairs, drawn, verdicts
from loadtest.harness import ROOT
from serve.dataplane.router import Target, assign
from serve.engines.parent_watch import end_with_parent
from variants.document import canonical_sha256
from variants.evidence.gate import Gate, LatencyObjective
from variants.evidence.intervals import wilson
from variants.evidence.paired import bets_on_harm
from variants.evidence.sample_ratio import ALPHA
from variants.files import sha256_of, write_atomic
from variants.progress import Progress

CODE = [
    *sorted((ROOT / "variants" / "evidence").glob("*.py")),
    *sorted((ROOT / "serve" / "control").glob("*.py")),
    *sorted(Path(__file__).parent.glob("*.py")),
    ROOT / "serve" / "config" / "evidence_key.py",
    ROOT / "serve" / "config" / "lineage.py",
    ROOT / "serve" / "dataplane" / "router.py",
]
AT_ONCE = 2
WATCHED = Gate(quality=MARGIN)
"""It has only one metric, since the union bound over several could hide an error of the bounds themselves."""
WHOLE = Gate(quality=MARGIN, latency=LatencyObjective(objective_s=1.0, share=0.95), errors=0.01)
"""Three metrics, which share the alpha of a proof of harm. A promotion needs no share of it."""
EQUAL = Truth(0.0, 0.10)
CASES = {"10 % discordant": 0.10, "2 % discordant": 0.02, "identical answers": 0.0}
SOUND_S = 2000
"""Seconds with five requests each."""
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
    live_runs: int = 2000
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
    for case, sound_s in {"": 0, ", after 10,000 sound ones in this step": SOUND_S}.items():
        requests = requests_to_return(size.deciding_runs, sound_s)
        rows.append({"case": f"requests of its clients until a variant that fails at 10 % is returned{case}",
                     **percentiles(requests, int(NEVER) - 1)})  # fmt: skip
    return rows


def percentiles(decided: Numbers | simulation.Counts, most: int) -> dict[str, Any]:
    """The median, the 80th and the 95th percentile; None where so many runs are undecided after `most` pairs."""
    figures = {}
    for at in (50, 80, 95):
        value = int(np.percentile(decided, at, method="higher"))
        figures[f"p{at}"] = value if value <= most else None
    return {"runs": len(decided), **figures, "fixed_sample_p50": None, "fixed_sample_p80": None}


def questions(size: Size, tick: Tick) -> int | None:
    """The median number of questions to a judge; None where half of the runs are undecided."""
    asked = judge_questions(size.deciding_runs)
    tick(size.deciding_runs, size.deciding_runs)
    figure: int | None = percentiles(asked, int(NEVER) - 1)["p50"]
    return figure


def part_of(row: Row) -> "Part":
    return lambda size, tick: measured(row, size.live_runs if row.live else size.row_runs, 7, tick)


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


Part = Callable[[Size, Tick], Any]
ROWS = {"nulls": [*NULLS, *ROLLOUTS], "attacks": [*ATTACKS, *HONEST]}
PARTS: dict[str, Part] = {
    "different": peeking,
    "at_margin": at_margin,
    "promotion": promotion,
    "returned": returned,
    "judge_questions_p50": questions,
    "sample_ratio": sample_ratio,
    **{f"{kind} {row.name}": part_of(row) for kind, rows in ROWS.items() for row in rows},
}


def measure(out: Path, size: Size, progress: Progress, at_once: int = 1) -> dict[str, Any]:
    """The figures of every part. Parts that an earlier run finished are read from `out`."""
    digest = canonical_sha256([[sha256_of(path) for path in CODE], vars(size)])
    kept = {name: out / "parts" / f"{canonical_sha256(name)[:16]}.json" for name in PARTS}
    figures = {name: document["figures"] for name, path in kept.items()
               if path.is_file() and (document := json.loads(path.read_bytes()))["digest"] == digest}  # fmt: skip
    left = [name for name in PARTS if name not in figures]
    with ExitStack() as ended:
        of_parts = beside(left, size, progress, at_once, ended) if at_once > 1 else in_turn(left, size, progress)
        for name, its in of_parts:
            write_atomic(kept[name], json.dumps({"digest": digest, "part": name, "figures": its}).encode())
            figures[name] = its
    return figures


def in_turn(names: Iterable[str], size: Size, progress: Progress) -> Iterator[tuple[str, Any]]:
    for name in names:
        with progress.step(f"simulating {name}") as step:
            figures = PARTS[name](size, step.to)
        yield name, figures


def beside(
    names: list[str], size: Size, progress: Progress, at_once: int, ended: ExitStack
) -> Iterator[tuple[str, Any]]:
    """The parts in processes that end with `ended`, each on one core."""
    os.environ["OMP_NUM_THREADS"] = "1"  # the processes inherit it
    pool = ended.enter_context(multiprocessing.get_context("spawn").Pool(at_once, one_of_several))
    with progress.step("simulating", len(names)) as step:
        results = pool.imap_unordered(one_part, [(name, size) for name in names])
        for number, result in enumerate(results, 1):
            step.to(number, len(names))
            yield result


def one_of_several() -> None:
    """Ctrl-C is for the process that started this one, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(signal.SIGTERM)


def one_part(job: tuple[str, Size]) -> tuple[str, Any]:
    name, size = job
    return name, PARTS[name](size, lambda done, total: None)


def gathered(figures: dict[str, Any]) -> dict[str, Any]:
    """The figures as `evidence.json` has them: rows in lists."""
    lists = {kind: [each for row in rows for each in figures[f"{kind} {row.name}"]] for kind, rows in ROWS.items()}
    alone = {name: figures[name] for name in ("different", "at_margin", "judge_questions_p50", "sample_ratio")}
    return {**alone, "pairs": figures["promotion"] + figures["returned"], **lists}
