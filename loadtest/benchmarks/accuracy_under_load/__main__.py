"""`make bench-accuracy`: the labelled load of each family through the server, held against what was measured offline.

A family at a time: build, evaluate, serve on Ray, drive the campaign. Then, for each variant, whether its accuracy
under load lies within the interval of its card, which is of the same artifact and the same examples. Cards and
artifacts are kept, so a second run begins with the server.
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

import yaml

from loadtest.benchmarks.accuracy_under_load.check import AccuracyCheck, Cards, check_counts, hold
from loadtest.campaign.schema import AccuracyTest, read_campaign
from loadtest.harness import (
    ROOT,
    Clock,
    drive,
    ends_in_words,
    interrupt_on_signals,
    run,
    start,
    start_server,
    understudy,
)
from loadtest.results.schema import Summary
from serve.config.loader import load
from serve.ports import free_port
from variants.artifacts.card import Accuracy
from variants.errors import EngineError, StackError
from variants.files import write_atomic
from variants.machine import describe, versions

STACKS, CAMPAIGNS = ROOT / "deploy" / "stacks", ROOT / "loadtest" / "campaigns"


@dataclass(frozen=True)
class Family:
    """A stack and its campaign. `only`: the variants that are served, where all of them would not fit on two cores;
    they are evaluated on what the campaign asks and no more."""

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
    """All of one family, its records and report in `out`. Raises UnderstudyError."""
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
    campaign = read_campaign(family.campaign)
    if campaign.accuracy is None:
        raise StackError("no labelled part", field="accuracy", mend="name a model, a task and n")
    return campaign.accuracy.tests


def served(family: Family, tests: Sequence[AccuracyTest], out: Path) -> Path:
    """The stack file to serve: the family's own, or what is left of it, written to `out`."""
    if not family.only:
        return family.stack
    document = load(family.stack).model_dump(mode="json", by_alias=True, exclude_none=True)
    for name, model in document["models"].items():
        model["evaluate"] = [test.task for test in tests if test.model == name]
        model["variants"] = {variant: model["variants"][variant] for variant in family.only}
    path = out / "stack.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def evaluated(children: ExitStack, stack: Path) -> Cards:
    """The cards of all variants, measured where they are missing. Raises EngineError."""
    process = start(children, understudy("evaluate", "--stack", str(stack), "--json"), stdout=subprocess.PIPE)
    said, _ = process.communicate()
    if process.returncode != 0:
        raise EngineError(f"`understudy evaluate` ended with code {process.returncode}")
    return {card["digest"]: [Accuracy.model_validate(each) for each in card["accuracy"]] for card in json.loads(said)}


def write(found: dict[str, list[AccuracyCheck]], out: Path) -> None:
    """`campaigns.json`: what was found so far."""
    rows = [{"family": family, **each.row()} for family, several in found.items() for each in several]
    document = {"schema": 1, "machine": describe().model_dump(), "versions": versions(), "held": rows}
    write_atomic(out / "campaigns.json", (json.dumps(document, indent=1) + "\n").encode())


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Drive each family's labelled campaign, and hold it against its cards."
    )
    parser.add_argument("--only", choices=sorted(FAMILIES), help="one family; all if left out")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "campaigns")
    given = parser.parse_args()
    interrupt_on_signals()
    found: dict[str, list[AccuracyCheck]] = {}
    with ends_in_words("campaigns"):
        for name in [given.only] if given.only else FAMILIES:
            clock = Clock()
            print(f"\n=== {name}", file=sys.stderr, flush=True)
            found[name] = drive_family(FAMILIES[name], given.out.resolve() / name, clock)
            write(found, given.out.resolve())
            phases = ", ".join(f"{phase} {seconds:.0f} s" for phase, seconds in clock.phases.items())
            print("\n".join([f"\n{name}: {phases}", *(f"  {each}" for each in found[name])]), flush=True)
    every = [each for several in found.values() for each in several]
    outside = sum(not each.within for each in every)
    print(f"\n{len(every) - outside} of {len(every)} accuracies under load lie within the intervals of their cards")
    if outside or not every:
        sys.exit(1)


if __name__ == "__main__":
    main()
