"""The summary on a terminal: two tables a model (what it costs, what it gets right), then what they say in
sentences.

Fits 100 columns. What is written here is the summary's own figures, shortened by `formats.py`; nothing is
computed.
"""

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from loadtest.results.formats import accuracy, clock, examples, number, quantile, size
from loadtest.results.schema import AccuracyFigure, ModelFigures, Summary


def render(summary: Summary, console: Console) -> None:
    """Print the whole summary."""
    for model in summary.models:
        console.print()
        console.print(Text(f"{model.model}  {model.task}", style="bold"))
        console.print(_speed_table(model))
        console.print(_accuracy_table(model))
        for sentence in model.says:
            console.print(Padding(Text(sentence), (0, 0, 0, 1)))
    console.print()
    for sentence in summary.limits:
        console.print(Padding(Text(sentence, style="dim"), (0, 0, 0, 1)))
    console.print(Padding(Text(_times(summary)), (1, 0, 0, 1)))


def _speed_table(model: ModelFigures) -> Table:
    text = model.task == "text-generation"
    table = _table("requests", "failed", "requests/s")
    if text:
        table.add_column("output\ntokens/s", justify="right", no_wrap=True)
    for heading in ("latency\np50", "\np95", "\np99"):
        table.add_column(heading, justify="right", no_wrap=True)
    if text:
        table.add_column("first token\np50", justify="right", no_wrap=True)
    for variant in model.variants:
        latency = [quantile(variant.latency_s, name) for name in ("p50", "p95", "p99")]
        table.add_row(
            variant.variant,
            f"{variant.requests:,}",
            Text(f"{variant.failed:,}", style="bold red" if variant.failed else ""),
            number(variant.throughput_rps),
            *([number(variant.output_tokens_per_s)] if text else []),
            *latency,
            *([quantile(variant.ttft_s, "p50")] if text else []),
        )
    return table


def _accuracy_table(model: ModelFigures) -> Table:
    tasks: dict[str, list[AccuracyFigure]] = {}
    for found in (found for variant in model.variants for found in variant.accuracy):
        tasks.setdefault(found.task, []).append(found)
    table = _table("precision", "artifact", "peak\nmemory")
    for task, of_task in tasks.items():
        table.add_column(f"{task}\n{examples(of_task)}, 95 % interval", justify="right", no_wrap=True)
    for variant in model.variants:
        by_task = {found.task: found for found in variant.accuracy}
        table.add_row(
            variant.variant,
            variant.precision,
            size(variant.artifact_bytes),
            size(variant.peak_memory_bytes),
            *(accuracy(by_task.get(task)) for task in tasks),
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("variant", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _times(summary: Summary) -> str:
    phases = ", ".join(f"{name} {clock(value)}" for name, value in summary.phases_s.items())
    peak = f"; at most {size(summary.peak_memory_bytes)} in use" if summary.peak_memory_bytes else ""
    return f"{clock(summary.wall_s)} in all: {phases}{peak}."
