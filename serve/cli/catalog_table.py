"""Prints the catalog as a table: one line for each binding of a variant, the current one first and bold."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def render(document: dict[str, Any], console: Console) -> None:
    """Print a document of `serve.cli.catalog.list_catalog`."""
    if not document["variants"]:
        console.print("no variant is built yet: run understudy build")
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("variant", "build", "since (UTC)", "why"):
        table.add_column(heading, no_wrap=True)
    table.add_column("on disk", justify="right", no_wrap=True)
    table.add_column("licences")
    for row in document["variants"]:
        for binding in reversed(row["history"]):
            _add(table, row, binding)
    console.print(table)
    for row in document["variants"]:
        for binding in row["history"]:
            if binding["fault"]:
                fault = f"{row['model']}@{row['variant']} {binding['artifact_sha256'][:8]}: {binding['fault']}"
                console.print(Text(fault), soft_wrap=True)
    console.print(Text(describe_space(document["space"])), soft_wrap=True)


def _add(table: Table, row: dict[str, Any], binding: dict[str, Any]) -> None:
    current = binding["current"]
    size = megabytes(binding["disk_bytes"]) if binding["disk_bytes"] is not None else "gone"
    cells = (
        f"{row['model']}@{row['variant']}" if current else "",
        binding["artifact_sha256"][:8],
        binding["bound"][:19].replace("T", " "),
        binding["why"],
        f"{size}, damaged" if binding["fault"] and binding["disk_bytes"] is not None else size,
        ", ".join(row["licences"]) if current else "",
    )
    table.add_row(*(Text(cell) for cell in cells), style="bold" if current else "dim")


def describe_space(space: dict[str, int]) -> str:
    """The totals in one line."""
    return (
        f"{space['artifacts']} artifacts {megabytes(space['artifacts_bytes'])} "
        f"({megabytes(space['shared_bytes'])} of it duplicates), "
        f"sources {megabytes(space['sources_bytes'])}, "
        f"staging {megabytes(space['staging_bytes'])}, free {megabytes(space['free_bytes'])}"
    )


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
