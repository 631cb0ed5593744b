"""`make bench-accuracy`: compares each family's accuracy under load with the accuracy that was measured offline.

Each family is built, evaluated, served on Ray and asked by its campaign. Then each variant's accuracy under load must
lie within the interval of its card, which is of the same artifact and the same examples. Cards and artifacts are kept,
so a second run begins with the server.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from loadtest.benchmarks.accuracy_under_load.check import AccuracyCheck, Cards, check_counts, hold
from loadtest.benchmarks.figures import write_figures
from loadtest.campaign.schema import AccuracyTest, read_campaign
from loadtest.harness import ROOT, Clock, drive, ends_in_words, run, start, start_server, understudy
from loadtest.results.schema import Summary
from serve.config.loader import load
from serve.ports import free_port
from variants.artifacts.card import Accuracy
from variants.errors import EngineError, StackError

STACKS, CAMPAIGNS = ROOT / "deploy" / "stacks", ROOT / "loadtest" / "campaigns"


@dataclass(frozen=True)
class Family:
    """A stack and its campaign. `only` names the variants to serve if all of them would be too much for two cores. They
    are then evaluated only on the tasks that the campaign asks."""

    stack: Path
    campaign: Path
    only: tuple[str, ...] = ()


FAMILIES = {
    name: Family(STACKS / f"{name}.yaml", CAMPAIGNS / f"{name}.yaml", only)
    for name, only in {
        "text-classification": (),
        "image-classification": (),
        "object-detection": (),
        "image-generation": (),
        "text-generation": ("baseline", "int8"),
    }.items()
}


def drive_family(family: Family, out: Path, clock: Clock) -> list[AccuracyCheck]:
    """Measure and check one family, with its records and its report in `out`. Raises UnderstudyError."""
    out.mkdir(parents=True, exist_ok=True)
    tests = asked_of(family)
    stack = served(family, tests, out)
    with ExitStack() as children:
        with clock.phase("build"):
            run(children, "build", str(stack))
        with clock.phase("evaluate"):
            cards = evaluated(children, stack)
        check_counts(cards, tests)
        with clock.phase("serve"):
            shutil.rmtree(out / "state", ignore_errors=True)
            url = start_server(children, stack, free_port(), out / "state")
        with clock.phase("load"):
            drive(children, url, str(family.campaign), out)
    with ExitStack() as children:
        run(children, "report", "--out", str(out))
    return hold(Summary.model_validate_json((out / "summary.json").read_bytes()), cards, tests)


def asked_of(family: Family) -> tuple[AccuracyTest, ...]:
    """The accuracy tests of the family's campaign. Raises StackError if it has none."""
    campaign = read_campaign(family.campaign)
    if campaign.accuracy is None:
        raise StackError("no labelled part", field="accuracy", mend="name a model, a task and n")
    return campaign.accuracy.tests


def served(family: Family, tests: Sequence[AccuracyTest], out: Path) -> Path:
    """The stack file to serve: the family's own, or one with only some of its variants, written to `out`."""
    if not family.only:
        return family.stack
    document = load(family.stack).as_document()
    for name, model in document["models"].items():
        model["evaluate"] = [test.task for test in tests if test.model == name]
        model["variants"] = {variant: model["variants"][variant] for variant in family.only}
    path = out / "stack.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def evaluated(children: ExitStack, stack: Path) -> Cards:
    """The cards of all variants; missing ones are measured. Raises EngineError if the command fails."""
    process = start(children, understudy("evaluate", "--stack", str(stack), "--json"), stdout=subprocess.PIPE)
    output, _ = process.communicate()
    if process.returncode != 0:
        raise EngineError(f"`understudy evaluate` ended with code {process.returncode}")
    return {card["digest"]: [Accuracy.model_validate(each) for each in card["accuracy"]] for card in json.loads(output)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Run each family's labelled campaign, and compare its accuracy with its cards."
    )
    parser.add_argument("--only", choices=sorted(FAMILIES), help="one family; all if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "campaigns")
    given = parser.parse_args()
    out = given.out.resolve()
    rows: list[dict[str, Any]] = []
    with ends_in_words("campaigns"):
        for name in [given.only] if given.only else FAMILIES:
            clock = Clock()
            print(f"\n=== {name}", file=sys.stderr, flush=True)
            checks = drive_family(FAMILIES[name], out / name, clock)
            rows += [{"family": name, **check.row()} for check in checks]
            write_figures(out / "campaigns.json", {"held": rows})
            phases = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in clock.phases.items())
            print("\n".join([f"\n{name}: {phases}", *(f"  {check}" for check in checks)]), flush=True)
    inside = sum(row["within"] for row in rows)
    print(f"\n{inside} of {len(rows)} accuracies under load lie within the intervals of their cards")
    if inside < len(rows) or not rows:
        sys.exit(1)


if __name__ == "__main__":
    main()
