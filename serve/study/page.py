"""The study as one HTML file: no network, no script, light and dark.

Every figure in its tables is one of `study.json`: a cell says which (`data-of`, a JSON pointer) and how it is written
(`data-as`, a name in FORMATS). Sentences and plots are made from the same cards.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2

from serve.study import plots, sentences
from serve.study.schema import Study
from variants.files import write_atomic
from variants.reports import formats
from variants.reports.svg import PALETTE, TEMPLATES

HERE = Path(__file__).parent
FORMATS: Mapping[str, Callable[[Any, str], str]] = {
    "size": lambda found, unit: formats.size(found),
    "seconds": lambda found, unit: formats.seconds(found),
    "number": lambda found, unit: formats.number(found),
    "count": lambda found, unit: f"{found:,}",
    "share": lambda found, unit: formats.NOTHING if found is None else formats.share(found),
    "ratio": lambda found, unit: formats.NOTHING if found is None else sentences.ratio(found),
    "between": lambda found, unit: formats.NOTHING if found is None else sentences.measure_share(found),
    "measure": lambda found, unit: sentences.measure(found, unit),
    "executed": lambda found, unit: sentences.executed(found),
    "difference": lambda found, unit: formats.NOTHING if found is None else sentences.difference(found, unit),
}
"""Each takes a figure of the study and the unit of the metric that it belongs to."""
COLUMNS: Sequence[tuple[str, str, str]] = (
    ("executed", "", "executed"),
    ("bytes<br>served", "/served_bytes", "size"),
    ("{metric}<br>95 % interval", "/accuracy", "measure"),
    ("<br>n", "/accuracy/n", "count"),
    ("difference to parent<br>same examples, 95 %", "/paired_difference", "difference"),
    ("same<br>answers", "/agreement/value", "share"),
    ("1 request<br>p50", "/latency_s/p50", "seconds"),
    ("<br>p95", "/latency_s/p95", "seconds"),
    ("times as fast<br>1 request", "/speedup/single", "ratio"),
    ("<br>8 at once", "/speedup/saturated", "ratio"),
)
COST: Sequence[tuple[str, str, str]] = (
    ("8 at once<br>p50", "/saturated_latency_s/p50", "seconds"),
    ("<br>p95", "/saturated_latency_s/p95", "seconds"),
    ("<br>requests/s", "/throughput_per_s", "number"),
    ("engine CPU-s for<br>1,000 requests", "/cost_cpu_s", "number"),
    ("<br>load", "/load_s", "seconds"),
    ("memory<br>warm", "/resident_bytes", "size"),
    ("<br>highest", "/peak_memory_bytes", "size"),
    ("artifact,<br>served part", "/artifact_bytes", "size"),
    ("building<br>time", "/effort/seconds", "seconds"),
    ("<br>memory", "/effort/peak_bytes", "size"),
)
OTHER: Sequence[tuple[str, str, str]] = (
    ("figure, 95 % interval", "/accuracy", "measure"),
    ("n", "/accuracy/n", "count"),
    ("difference to parent", "/paired_difference", "difference"),
    ("same answers", "/agreement", "between"),
)
DISTANCE: Sequence[tuple[str, str, str]] = (
    ("Fréchet distance", "/value", "number"),
    ("drawn", "/n", "count"),
    ("real", "/real", "count"),
)


class Cell(NamedTuple):
    """What a cell shows, the JSON pointer of what it shows, and how that is written."""

    text: str
    of: str
    how: str


def write(study: Study, out: Path) -> Path:
    """Write `index.html` into `out` and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda found: json.dumps(found, indent=2)
    families = list(dict.fromkeys(card.family for card in study.cards))
    text = environment.get_template("page.html.j2").render(
        study=study,
        families=[(family, [_model(study, name) for name in _models(study, family)]) for family in families],
        limits=sentences.limits(study),
        palette=PALETTE,
        kinds=plots.KINDS,
        colour=plots.colour_of,
        f=formats,
    )
    write_atomic(out / "index.html", text.encode())
    return out / "index.html"


def _models(study: Study, family: str) -> list[str]:
    return list(dict.fromkeys(card.model for card in study.cards if card.family == family))


def _model(study: Study, name: str) -> dict[str, Any]:
    """What the page shows of one model."""
    numbered = [(number, card) for number, card in enumerate(study.cards) if card.model == name]
    cards = [card for _, card in numbered]
    by_name = {card.variant: card for card in cards}
    return {
        "name": name,
        "cards": cards,
        "columns": [heading.format(metric=cards[0].accuracy.metric) for heading, _, _ in COLUMNS],
        "rows": [(card, row_of(card, f"/cards/{number}", COLUMNS, card.unit)) for number, card in numbered],
        "cost_columns": [heading for heading, _, _ in COST],
        "costs": [(card, row_of(card, f"/cards/{number}", COST, card.unit)) for number, card in numbered],
        "other_columns": [heading for heading, _, _ in OTHER],
        "others": [
            (card, other, row_of(other, f"/cards/{number}/others/{place}", OTHER, other.unit))
            for number, card in numbered
            for place, other in enumerate(card.others)
        ],
        "distance_columns": [heading for heading, _, _ in DISTANCE],
        "distances": [
            (card, each.task, row_of(each, f"/cards/{number}/distances/{place}", DISTANCE, ""))
            for number, card in numbered
            for place, each in enumerate(card.distances)
        ],
        "says": [(card, sentences.says(card, by_name.get(card.parent or ""))) for card in cards],
        "plot": plots.pareto(name, cards),
    }


def row_of(shown: Any, pointer: str, columns: Sequence[tuple[str, str, str]], unit: str) -> list[Cell]:
    """The cells of one card, or of one further metric of it."""
    return [Cell(FORMATS[how](_at(shown, path), unit), pointer + path, how) for _, path, how in columns]


def _at(shown: Any, path: str) -> Any:
    """What stands at `path` of a card, itself at none; None where a part of the way is None."""
    for part in filter(None, path.split("/")):
        shown = getattr(shown, part) if shown is not None else None
    return shown
