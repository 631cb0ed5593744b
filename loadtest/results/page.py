"""Writes the summary as one HTML file that needs no network and no scripts. All figures are those of the summary."""

from pathlib import Path
from typing import Any

from loadtest.results import columns, plots
from loadtest.results.schema import ModelFigures, Summary
from variants.reports.formats import clock, size
from variants.reports.page import render
from variants.reports.svg import PALETTE
from variants.reports.table import Column, Row

MIXED = (
    Column("requests", "/mixed/requests", "count"),
    Column("share", "/mixed/share", "share"),
    Column("failed", "/mixed/failed", "count", alarm="/mixed/failed"),
    *(column._replace(path=f"/mixed{column.path}") for column in columns.LATENCY),
)
MIXED_TEXT = (*MIXED, Column("first token\np50", "/mixed/ttft_s/p50", "seconds"))
ARTIFACT = (
    Column("method", "/method", "text"),
    columns.PRECISION,
    Column("parent", "/parent", "text"),
    Column("engine", "/engine", "text"),
    Column("sha256", "/artifact_sha256", "digest"),
)
VERDICT = (
    Column("n", "/n", "count"),
    Column("mean, and bounds\nvalid at every look", "/mean_text", "text"),
    Column("allowed", "/allowed", "text"),
    Column("", "/state_text", "text", alarm="/is_broken"),
)


def write(summary: Summary, out_dir: Path) -> Path:
    """Write `report.html` into `out_dir` and return its path."""
    text = render(
        Path(__file__).with_name("page.html.j2"),
        title=f"{summary.campaign}, {summary.started[:10]}",
        summary=summary,
        models=[_model(model) for model in summary.models],
        verdict_table=(VERDICT, [Row(f"{each.metric}: {each.means}", None, each) for each in summary.verdict.metrics])
        if summary.verdict
        else None,
        limits=summary.limits,
        facts=_facts(summary),
    )
    path = out_dir / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def _facts(summary: Summary) -> dict[str, Any]:
    phases, load = (
        ", ".join(f"{name} {clock(value)}" for name, value in times.items())
        for times in (summary.phases_s, summary.load_s)
    )
    times = {"wall time": f"{clock(summary.wall_s)}: {phases}", "load": load}
    if summary.peak_memory_bytes:
        times["peak memory"] = f"{size(summary.peak_memory_bytes)}, the sum of proportional set sizes"
    return summary.machine | summary.versions | times


def _model(model: ModelFigures) -> dict[str, Any]:
    """The tables and plots of one model. A table is a pair of columns and rows."""
    text = columns.is_text(model)
    rows = [
        Row(variant.variant, index % len(PALETTE), variant, title=variant.artifact_sha256)
        for index, variant in enumerate(model.variants)
    ]
    accuracy = [row._replace(document=columns.accuracy_of(model, row.document), unit="share") for row in rows]
    return {
        "figures": model,
        "speed": ([*columns.speed_columns(model), *(columns.TOKENS if text else ()), *columns.MEMORY], rows),
        "accuracy": (columns.accuracy_columns(model, differences=True), accuracy),
        "pareto": plots.pareto(model),
        "slices": plots.slices(model),
        "mixed": (MIXED_TEXT if text else MIXED, rows),
        "artifacts": (ARTIFACT, rows),
    }
