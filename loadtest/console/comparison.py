"""Two runs side by side: for each model that both asked, the figures of each variant, and the second over the first."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from loadtest.results.columns import FIRST_TOKEN, LATENCY, TOKEN_RATE, accuracy_columns, accuracy_of, is_text
from loadtest.results.schema import ModelFigures, Summary, VariantFigures
from variants.reports.palette import PALETTE
from variants.reports.table import Column, Row, value_at

COUNTS = (Column("requests", "/requests", "count"), Column("failed", "/failed", "count", alarm="/failed"))
RATE = Column("requests/s", "/throughput_rps", "number")
ROUTED = (
    Column("routed,\np50", "/mixed/latency_s/p50", "seconds"),
    Column("\np95", "/mixed/latency_s/p95", "seconds"),
)
Table = tuple[list[Column], list[Row]]


class Model(NamedTuple):
    """The tables of one model. `panels` says for each run how many panels its picture has; 0: there is none."""

    name: str
    task: str
    figures: Table
    ratios: Table
    panels: tuple[int, int]


class Compared(NamedTuple):
    """`warnings` say what makes the runs unlike. `only` has the models that one of them lacks."""

    models: list[Model]
    warnings: list[str]
    only: list[str]


def compare(first: Summary, second: Summary) -> Compared:
    """The models of both runs, in the order of the first."""
    others = {model.model: model for model in second.models}
    both = [(model, others[model.model]) for model in first.models if model.model in others]
    names = {model.model for model, _ in both}
    only = sorted({model.model for each in (first, second) for model in each.models} - names)
    return Compared([model_of(*pair) for pair in both], list(warnings(first, second, both)), only)


def warnings(first: Summary, second: Summary, both: list[tuple[ModelFigures, ModelFigures]]) -> Iterable[str]:
    if first.campaign != second.campaign:
        yield f"The campaigns differ: {first.campaign} and {second.campaign}."
    if first.machine != second.machine:
        yield "The machines differ, so times cannot be compared."
    if first.versions != second.versions:
        differing = sorted(
            name for name in {*first.versions, *second.versions}
            if first.versions.get(name) != second.versions.get(name)
        )  # fmt: skip
        yield f"Versions differ: {', '.join(differing)}."
    for one, other in both:
        builds = {each.variant: each.artifact_sha256 for each in other.variants}
        changed = [each.variant for each in one.variants if builds.get(each.variant, "") != each.artifact_sha256]
        changed = [name for name in changed if name in builds]
        if changed:
            yield f"{one.model}: {', '.join(changed)} got another build between the runs."


def model_of(first: ModelFigures, second: ModelFigures) -> Model:
    runs = (first, second)
    names = list(dict.fromkeys(each.variant for model in runs for each in model.variants))
    by_name = [{each.variant: each for each in model.variants} for model in runs]
    rows = [
        Row(f"{name}, {which}", index % len(PALETTE), document_of(model, of[name]), "share")
        for index, name in enumerate(names)
        for which, model, of in zip(("first", "second"), runs, by_name, strict=True)
        if name in of
    ]
    text = is_text(first)
    columns = [
        *COUNTS, RATE, *((TOKEN_RATE,) if text else ()), *LATENCY[:2], *((FIRST_TOKEN,) if text else ()), *ROUTED,
        *accuracy_columns(first, differences=False),
    ]  # fmt: skip
    known = [column for column in columns if any(value_at(row.document, column.path) is not None for row in rows)]
    ratios = [
        Row(name, index % len(PALETTE), ratios_of(by_name[0][name], by_name[1][name], known))
        for index, name in enumerate(names)
        if all(name in of for of in by_name)
    ]
    shown = [Column(column.heading, column.path, "number") for column in known if is_rate(column)]
    return Model(first.model, first.task, (known, rows), (shown, ratios), (panels(first), panels(second)))


def document_of(model: ModelFigures, variant: VariantFigures) -> dict[str, Any]:
    """A variant's figures, with its accuracy by task."""
    return dict(variant) | accuracy_of(model, variant)


def is_rate(column: Column) -> bool:
    """Whether the column has rates or times, which have a ratio."""
    return column.how in ("number", "seconds")


def ratios_of(first: VariantFigures, second: VariantFigures, columns: list[Column]) -> dict[str, Any]:
    """The second run's figure over the first's, at the path of each column."""
    document: dict[str, Any] = {}
    for column in filter(is_rate, columns):
        one, other = value_at(first, column.path), value_at(second, column.path)
        *folders, last = filter(None, column.path.split("/"))
        place = document
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = other / one if one and other is not None else None
    return document


def panels(model: ModelFigures) -> int:
    """The tasks of which `loadtest.results.plots.pareto` has a panel: some variant has both accuracy and speed."""
    timed = [each for each in model.variants if each.throughput_rps is not None or each.output_tokens_per_s is not None]
    return len({figure.task for each in timed for figure in each.accuracy})
