"""`make bench-shadow`: measures how much longer clients wait while some of their requests are replayed on a shadow.

It serves one variant, and a second one that is only compared with it. It first measures the rate at saturation. Then it
sends labelled requests at a share of that rate, in pairs of campaigns with the same arrivals. One campaign of a pair
has shadows, the other has none, and their order alternates.

It reports the geometric mean of the ratios of the 95th percentiles, with Student's t interval of their logarithms, and
the number of shadow pairs by outcome. A pair takes about a minute. A run keeps the pairs of an earlier one that was
interrupted.
"""

import argparse
import json
import math
import shutil
import statistics
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from loadtest.benchmarks.figures import write_figures
from loadtest.campaign.schema import parse_campaign
from loadtest.errors import LoadError
from loadtest.harness import ROOT, ends_in_words, start_server
from loadtest.results.records import Record, read_lines
from loadtest.worker.parent import run
from serve.client.client import Client
from serve.ports import free_port
from variants.evidence.intervals import Interval
from variants.files import write_atomic
from variants.machine import describe, versions
from variants.progress import for_stream

STACK = Path(__file__).with_name("shadow_overhead.yaml")
CLIENTS = 32


@dataclass(frozen=True)
class Plan:
    """The settings of a run. `load` is a share of the rate at saturation; `share` of the requests are shadowed."""

    model: str = "smollm2"
    parent: str = "baseline"
    shadow: str = "int8"
    task: str = "rotten_tomatoes"
    pairs: int = 20
    seconds: float = 20.0
    load: float = 0.7
    share: float = 0.2
    examples: int = 128


@dataclass(frozen=True)
class Pair:
    """One pair: 95th percentiles in seconds, and the requests of both campaigns, all and failed."""

    rate_per_s: float
    with_shadows_s: float
    without_s: float
    requests: int
    failed: int


def campaign(url: str, out: Path, **part: Any) -> list[Record]:
    """Run a campaign that has only this part. Raises LoadError."""
    document = {"schema": 1, "name": "shadow-overhead", "limit_s": 600, "timeout_s": 120, **part}
    records = run(url, parse_campaign(document), out, lambda step: None)
    return list(read_lines(records, Record))


def saturation(plan: Plan, url: str, out: Path) -> float:
    """Requests a second that the parent answers in a closed loop. Raises LoadError if it answers none."""
    test = {"model": plan.model, "task": plan.task, "n": plan.examples}
    records = campaign(url, out, accuracy={"clients": CLIENTS, "limit_s": 300, "tests": [test]})
    answered = [each for each in records if each.variant == plan.parent and not each.failed]
    if not answered:
        raise LoadError(f"{plan.parent} answered none of {len(records)} requests", mend=f"see {out}")
    began = min(each.started for each in answered)
    return len(answered) / (max(each.started + each.latency_s for each in answered) - began)


def measure_pair(plan: Plan, url: str, out: Path, number: int, rate: float) -> Pair:
    """Run one campaign with shadows and one without. Raises LoadError."""
    arrivals = {"model": plan.model, "task": plan.task, "ask": "label", "per_s": plan.load * rate}
    mixed = {"seconds": plan.seconds, "clients": CLIENTS, "arrivals": [arrivals]}
    p95: dict[bool, float] = {}
    records: list[Record] = []
    for shadowed in (number % 2 == 0, number % 2 == 1):
        shadows = {plan.shadow: plan.share if shadowed else 0.0}
        Client(url).change_traffic(plan.model, shadows=shadows, why="make bench-shadow")
        asked = campaign(url, out, seed=number, mixed=mixed)
        latencies = [each.latency_s for each in asked if not each.failed]
        if len(latencies) < 2:
            raise LoadError(f"{len(latencies)} of {len(asked)} requests were answered", mend=f"see {out}")
        p95[shadowed] = statistics.quantiles(latencies, n=20, method="inclusive")[18]
        records += asked
    failed = sum(each.failed for each in records)
    return Pair(round(rate, 3), round(p95[True], 5), round(p95[False], 5), len(records), failed)


def shadow_pairs(url: str, plan: Plan) -> dict[str, int]:
    """The number of shadow pairs by outcome, from `/metrics`."""
    with urlopen(f"{url}/metrics", timeout=30) as answer:  # noqa: S310 - loopback
        text = answer.read().decode()
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            wanted = sample.name == "understudy_shadow_pairs_total" and sample.labels["model"] == plan.model
            if wanted and sample.labels["variant"] == plan.shadow:
                counts[sample.labels["outcome"]] += int(sample.value)
    return dict(counts)


def mean_ratio(ratios: Sequence[float], confidence: float = 0.95) -> Interval:
    """The geometric mean of ratios, with Student's t interval of their logarithms. Raises ValueError for fewer than
    two."""
    from scipy.stats import t

    logs = [math.log(ratio) for ratio in ratios]
    mean, error = statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
    half = float(t.ppf((1 + confidence) / 2, len(logs) - 1)) * error
    return Interval(math.exp(mean), math.exp(mean - half), math.exp(mean + half))


def measure(plan: Plan, url: str, out: Path) -> dict[str, Any]:
    """Measure all pairs on a running server. Raises LoadError, and ValueError for fewer than two pairs."""
    path = out / "pairs.json"
    context = {
        "plan": asdict(replace(plan, pairs=0)),
        "machine": describe().model_dump(mode="json"),
        "versions": versions(),
    }
    earlier = json.loads(path.read_bytes()) if path.is_file() else {}
    pairs = [Pair(**each) for each in earlier["pairs"]] if earlier.get("context") == context else []
    with for_stream().step("pairs of campaigns", total=plan.pairs) as step:
        rate = saturation(plan, url, out / "saturation") if len(pairs) < plan.pairs else 0.0
        while len(pairs) < plan.pairs:
            pairs.append(measure_pair(plan, url, out / "pair", len(pairs), rate))
            write_atomic(path, json.dumps({"context": context, "pairs": [asdict(each) for each in pairs]}).encode())
            step.to(len(pairs))
    ratio = mean_ratio([each.with_shadows_s / each.without_s for each in pairs])
    return {**context, "pairs": [asdict(each) for each in pairs], "p95_ratio": asdict(ratio),
            "shadow_pairs": shadow_pairs(url, plan)}  # fmt: skip


def describe_result(result: dict[str, Any]) -> str:
    ratio, pairs = result["p95_ratio"], result["pairs"]
    requests, failed = sum(each["requests"] for each in pairs), sum(each["failed"] for each in pairs)
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(result["shadow_pairs"].items()))
    return (
        f"p95 with shadows over p95 without: {ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f}), "
        f"{len(pairs)} pairs, {requests} requests, {failed} failed\nshadow pairs since the server started: {outcomes}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what shadows cost the clients.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "bench-shadow")
    parser.add_argument("--pairs", type=int, default=Plan.pairs, help="pairs of campaigns, two or more")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / "state", ignore_errors=True)
    with ExitStack() as children:
        url = start_server(children, STACK, free_port(), out / "state")
        result = measure(Plan(pairs=given.pairs), url, out)
    write_figures(out / "shadow_overhead.json", result)
    print(json.dumps(result) if given.json else describe_result(result))


if __name__ == "__main__":
    with ends_in_words("bench-shadow"):
        main()
