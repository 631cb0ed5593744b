"""`make bench-gate`: simulates how often the gate is wrong, and how soon it decides, for known true differences.

It runs `loadtest.benchmarks.gate.parts`, and writes `out/evidence/evidence.json` and the figures in `docs/evidence.md`.
Each finished part is kept in `out/evidence/parts/`. It takes about 20 minutes on two cores.
"""

import argparse
import json
import os
from pathlib import Path
from typing import Any

from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.benchmarks.gate.parts import AT_ONCE, Size, gathered, measure
from loadtest.benchmarks.gate.row import MARGIN
from loadtest.harness import ROOT, ends_in_words
from variants.progress import for_stream

DOCUMENT = ROOT / "docs" / "evidence.md"


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
    wrong = "has no end" if row["wrong"] == "waits" else row["wrong"].replace("_", " ")
    share = row[f"{row['wrong']}_share"] * 100
    return f"| {row['name']} | {' | '.join(each)} | {wrong}: {share:.1f} % | {row['limit'] * 100:.0f} % |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Simulate the gate on pairs with a known true difference.")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    at_once = min(AT_ONCE, len(os.sched_getaffinity(0)))
    figures, path = gathered(measure(given.out, Size(), for_stream(), at_once)), given.out / "evidence.json"
    write_figures(path, figures, ("understudy", "numpy", "scipy"))
    put_into(DOCUMENT, "bench-gate", tables(figures))
    print(json.dumps(figures) if given.json else f"{tables(figures)}\n\n{path}")


if __name__ == "__main__":
    with ends_in_words("evidence"):
        main()
