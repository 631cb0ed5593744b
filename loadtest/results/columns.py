"""The columns of the tables on the terminal and on the page. A column is a path in a variant of `summary.json`."""

from typing import Any

from loadtest.results.schema import AccuracyFigure, ModelFigures, VariantFigures
from variants.reports.table import Column

RATES = (
    Column("requests", "/requests", "count"),
    Column("failed", "/failed", "count", alarm="/failed"),
    Column("requests/s", "/throughput_rps", "number"),
)
TOKEN_RATE = Column("output\ntokens/s", "/output_tokens_per_s", "number")
LATENCY = (
    Column("latency\np50", "/latency_s/p50", "seconds"),
    Column("\np95", "/latency_s/p95", "seconds"),
    Column("\np99", "/latency_s/p99", "seconds"),
)
FIRST_TOKEN = Column("first token\np50", "/ttft_s/p50", "seconds")
TOKENS = (Column("\np95", "/ttft_s/p95", "seconds"), Column("per token\np50", "/tpot_s/p50", "seconds"))
PRECISION = Column("precision", "/precision", "text")
MEMORY = (Column("artifact", "/artifact_bytes", "size"), Column("peak\nmemory", "/peak_memory_bytes", "size"))


def speed_columns(model: ModelFigures) -> list[Column]:
    """Requests, rates and latency; for a text model also output tokens and the time to the first one."""
    return [*RATES, TOKEN_RATE, *LATENCY, FIRST_TOKEN] if is_text(model) else [*RATES, *LATENCY]


def is_text(model: ModelFigures) -> bool:
    return model.task == "text-generation"


def accuracy_by_task(model: ModelFigures) -> dict[str, list[AccuracyFigure]]:
    tasks: dict[str, list[AccuracyFigure]] = {}
    for figure in (figure for variant in model.variants for figure in variant.accuracy):
        tasks.setdefault(figure.task, []).append(figure)
    return tasks


def accuracy_columns(model: ModelFigures, differences: bool) -> list[Column]:
    """The columns of `accuracy_of`: for each task the accuracy and, if asked, the difference to the parent."""
    columns = []
    for task, figures in accuracy_by_task(model).items():
        sizes = [figure.n for figure in figures]  # they differ if some examples were not answered
        counts = " to ".join(f"{n:,}" for n in sorted({min(sizes), max(sizes)}))
        columns.append(Column(f"{task}\nn {counts}, 95 % interval", f"/accuracy/{task}", "measure"))
        if differences and model.comparisons:
            columns.append(Column("difference to its parent\npoints, 95 % interval", f"/difference/{task}", "judged"))
    return columns


def accuracy_of(model: ModelFigures, variant: VariantFigures) -> dict[str, dict[str, Any]]:
    """A variant's accuracy, and its difference to that of its parent, by task."""
    compared = (each for each in model.comparisons if each.variant == variant.variant)
    return {
        "accuracy": {each.task: each for each in variant.accuracy},
        "difference": {each.task: each for comparison in compared for each in comparison.accuracy},
    }
