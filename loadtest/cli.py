"""The commands `understudy load` and `understudy report`. Imports little, because every command imports this."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def load(
    target: Annotated[str, typer.Option(help="Address of the server.")] = "http://127.0.0.1:8000",
    campaign: Annotated[Path | None, typer.Option(help="Campaign file; the demo's by default.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the records.")] = Path("out/load"),
    records_only: Annotated[bool, typer.Option(help="Write no summary; `understudy report` makes one.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send a campaign of labelled requests to a server, and summarise the results."""
    from loadtest.campaign.schema import read_campaign
    from loadtest.progress import open_progress
    from loadtest.worker.parent import run

    path = campaign or Path(__file__).parent / "campaigns" / "demo.yaml"
    with open_progress() as progress:
        records = run(target, read_campaign(path), out, progress)
    if records_only:
        print(json.dumps({"records": str(records)}, indent=2) if as_json else f"records: {records}")
    else:
        report(out, as_json)


def report(
    out: Annotated[Path, typer.Option(help="Folder with a campaign's records.")] = Path("out/load"),
    as_json: AsJson = False,
) -> None:
    """Make summary.json, report.html and a table of a campaign's records."""
    from rich.console import Console

    from loadtest.results.page import write
    from loadtest.results.summary import summarise
    from loadtest.results.table import render

    summary = summarise(out)
    page = write(summary, out)
    if as_json:
        print(summary.to_json())
        return
    render(summary, Console(width=None if sys.stdout.isatty() else 120))
    print(f"report: {page}\nsummary: {out / 'summary.json'}")
