"""The commands `understudy status` and `understudy top`: every variant of a running server in a table of 80 columns."""

import sys
import time
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from serve.cli.options import HERE, AsJson, Target, emit
from variants.reports.palette import PALETTE

if TYPE_CHECKING:
    from rich.table import Table

    from serve.client.client import Client
    from serve.client.fleet import Reading, VariantRow

WIDTH = 80


def status(target: Target = HERE, as_json: AsJson = False) -> None:
    """Show every variant: whether it is ready, its share, requests and times since the server's start.

    Exit codes: 0 all are ready; 5 no server answers, or a variant is not ready."""
    from rich.console import Console

    from serve.client.client import Client
    from serve.client.fleet import rows

    listed = rows(read(Client(target)))
    if as_json:
        emit([asdict(row) for row in listed], "", as_json)
    else:
        console = Console(width=None if sys.stdout.isatty() else WIDTH)
        console.print(table(listed))
        for line in faults(listed):
            console.print(line, style="red", highlight=False)
        console.print(f"understudy top --target {target} shows it live", style="dim", highlight=False)
    if not all(row.ready for row in listed):
        raise typer.Exit(5)


def top(
    every: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds between two readings.")] = 2.0,
    target: Target = HERE,
) -> None:
    """Show the same live, with requests and tokens a second, until Ctrl-C.

    A reading that fails is told below the table, and tried again."""
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    from serve.client.client import Client
    from serve.client.fleet import rows
    from variants.errors import UnderstudyError

    client = Client(target)
    before = read(client)
    with Live(table(rows(before)), auto_refresh=False) as live:
        while True:
            time.sleep(every)
            try:
                now = read(client)
            except UnderstudyError as error:
                live.update(Group(table(rows(before)), Text(str(error), style="red")), refresh=True)
                continue
            listed = rows(now, before)
            before = now
            live.update(Group(table(listed), *(Text(line, style="red") for line in faults(listed))), refresh=True)


def read(client: "Client") -> "Reading":
    """Raises EngineError where no server answers, Unauthorized without a key that it knows."""
    from serve.client.fleet import Reading, samples_of

    return Reading(time.monotonic(), client.models()["models"], samples_of(client.metrics()))


def faults(listed: "list[VariantRow]") -> list[str]:
    """What is wrong, a line each."""
    return [f"{row.name} is not ready: {row.reason}" for row in listed if not row.ready]


def table(listed: "list[VariantRow]") -> "Table":
    """The variants. `p95` and `TTFT` are of the slowest 5 %."""
    from rich.table import Table
    from rich.text import Text

    dot = " ●" if can_print("●", sys.stdout) else ""
    live = any(row.per_s is not None for row in listed)
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("variant", overflow="fold")
    for name in (
        "share",
        "req/s" if live else "reqs",
        "fail",
        "p50",
        "p95",
        "TTFT",
        *(("tok/s",) if live else ()),
        "wait",
        "MB",
    ):
        shown.add_column(name, justify="right", no_wrap=True)
    for row, mark in zip(listed, marks(listed), strict=True):
        count = f"{row.per_s:.1f}" if row.per_s is not None else f"{row.requests}"
        cells = [
            Text.assemble(row.name, (dot, mark)),
            f"{row.share:.0%}", count, f"{row.failed:.1%}" if row.requests else "-",
            seconds(row.p50_s), seconds(row.p95_s), seconds(row.ttft_s),
            *((f"{row.tokens_per_s or 0:.0f}",) if live else ()),
            f"{row.waiting}", "-" if row.memory_bytes is None else f"{row.memory_bytes / 1e6:.0f}",
        ]  # fmt: skip
        shown.add_row(*cells, style=None if row.ready else "red")
    return shown


def can_print(text: str, stream: TextIO) -> bool:
    """Whether the encoding of a stream has these characters."""
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def marks(listed: "list[VariantRow]") -> list[str]:
    """The colour of each variant, by its place in its model as in reports. Most terminals are dark."""
    places: Counter[str] = Counter()
    colours = []
    for row in listed:
        colours.append(PALETTE[places[row.model] % len(PALETTE)][1])
        places[row.model] += 1
    return colours


def seconds(value: float | None) -> str:
    """A time in three digits."""
    if value is None:
        return "-"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"
