"""Prints the summary on a terminal: for each model a table of speed, one of accuracy, and sentences."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtest.results.columns import MEMORY, PRECISION, accuracy_columns, accuracy_of, speed_columns
from loadtest.results.schema import Summary
from variants.reports.formats import clock, size
from variants.reports.table import Column


def render(summary: Summary, console: Console) -> None:
    """Print the whole summary."""
    for model in summary.models:
        console.print()
        console.print(Text(f"{model.model}  {model.task}", style="bold"))
        names = [variant.variant for variant in model.variants]
        console.print(_table(speed_columns(model), names, model.variants))
        accuracy = [dict(variant) | accuracy_of(model, variant) for variant in model.variants]
        console.print(_table([PRECISION, *MEMORY, *accuracy_columns(model, differences=False)], names, accuracy))
        for sentence in model.says:
            console.print(Padding(Text(sentence), (0, 0, 0, 1)))
    console.print()
    for sentence in summary.limits:
        console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 1)))
    console.print(Padding(Text(_times(summary)), (1, 0, 0, 1)))


def _table(columns: Sequence[Column], names: Iterable[str], documents: Iterable[Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("variant", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for name, document in zip(names, documents, strict=True):
        cells = (
            Text(column.text(document, "share"), style="bold red" if column.is_alarm(document) else "")
            for column in columns
        )
        table.add_row(name, *cells)
    return table


def _times(summary: Summary) -> str:
    phases = ", ".join(f"{name} {clock(value)}" for name, value in summary.phases_s.items())
    peak = f"; at most {size(summary.peak_memory_bytes)} in use" if summary.peak_memory_bytes else ""
    return f"{clock(summary.wall_s)} in all: {phases}{peak}."
