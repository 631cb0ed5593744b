"""Writes the study as one HTML file that needs no network and no scripts.

Every figure in its tables is one of `study.json`, which each cell names (`variants/reports/table.py`). Sentences and
plots come from the same cards.
"""

from pathlib import Path
from typing import Any

from serve.study import plots, sentences
from serve.study.schema import Study
from variants.files import write_atomic
from variants.reports.page import render
from variants.reports.table import Column, Row

COLUMNS = (
    Column("executed", "", "executed"),
    Column("bytes\nserved", "/served_bytes", "size"),
    Column("{metric}\n95 % interval", "/accuracy", "measure"),
    Column("\nn", "/accuracy/n", "count"),
    Column("difference to parent\nsame examples, 95 %", "/paired_difference", "difference"),
    Column("same\nanswers", "/agreement/value", "share"),
    Column("1 request\np50", "/latency_s/p50", "seconds"),
    Column("\np95", "/latency_s/p95", "seconds"),
    Column("times as fast\n1 request", "/speedup/single", "ratio"),
    Column("\n8 at once", "/speedup/saturated", "ratio"),
)
COST = (
    Column("8 at once\np50", "/saturated_latency_s/p50", "seconds"),
    Column("\np95", "/saturated_latency_s/p95", "seconds"),
    Column("\nrequests/s", "/throughput_per_s", "number"),
    Column("engine CPU-s for\n1,000 requests", "/cost_cpu_s", "number"),
    Column("\nload", "/load_s", "seconds"),
    Column("memory\nwarm", "/resident_bytes", "size"),
    Column("\nhighest", "/peak_memory_bytes", "size"),
    Column("artifact,\nserved part", "/artifact_bytes", "size"),
    Column("building\ntime", "/effort/seconds", "seconds"),
    Column("\nmemory", "/effort/peak_bytes", "size"),
)
OTHER = (
    Column("task", "/task", "text"),
    Column("metric", "/accuracy/metric", "text"),
    Column("figure, 95 % interval", "/accuracy", "measure"),
    Column("n", "/accuracy/n", "count"),
    Column("difference to parent", "/paired_difference", "difference"),
    Column("same answers", "/agreement", "between"),
)
DISTANCE = (
    Column("task", "/task", "text"),
    Column("Fréchet distance", "/value", "number"),
    Column("drawn", "/n", "count"),
    Column("real", "/real", "count"),
)


def write(study: Study, out: Path) -> Path:
    """Write `index.html` into `out` and return its path."""
    families: dict[str, dict[str, None]] = {}
    for card in study.cards:
        families.setdefault(card.family, {})[card.model] = None
    machine = study.machine.model_dump() | {
        "flags": " ".join(study.machine.flags),
        "gpus": ", ".join(study.machine.gpus) or "none",
    }
    text = render(
        Path(__file__).with_name("page.html.j2"),
        title=f"the study, {study.created.date()}",
        study=study,
        families={family: [_model(study, name) for name in names] for family, names in families.items()},
        limits=sentences.limits(study.cards),
        facts=machine | study.versions,
        kinds=plots.KINDS,
        colour=plots.colour_of,
    )
    write_atomic(out / "index.html", text.encode())
    return out / "index.html"


def _model(study: Study, name: str) -> dict[str, Any]:
    """The tables, sentences and plot of one model. A table is a pair of columns and rows."""
    cards = [card for card in study.cards if card.model == name]
    by_name = {card.variant: card for card in cards}
    metric = cards[0].accuracy.metric
    rows = [
        Row(card.variant, plots.colour_of(card.kind), card, card.unit, f"/cards/{number}", title=card.digest)
        for number, card in enumerate(study.cards)
        if card.model == name
    ]
    return {
        "name": name,
        "cards": cards,
        "figures": (
            [column._replace(heading=column.heading.format(metric=metric)) for column in COLUMNS],
            [row._replace(id=f"card-{row.document.name}") for row in rows],
        ),
        "costs": (COST, rows),
        "others": (OTHER, [part for row in rows for part in row.parts("others")]),
        "distances": (DISTANCE, [part for row in rows for part in row.parts("distances")]),
        "says": [(card, sentences.says(card, by_name.get(card.parent or ""))) for card in cards],
        "plot": plots.plot(name, cards),
    }
