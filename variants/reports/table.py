"""Tables for pages and terminals: a row is a document, and a column reads one figure of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from variants.reports import formats

FORMATS: Mapping[str, Callable[[Any, str], str]] = {
    "text": lambda value, unit: str(value),
    "count": lambda value, unit: f"{value:,}",
    "digest": lambda value, unit: value[:16],
    "executed": lambda card, unit: card.executed,
    "number": lambda value, unit: formats.number(value),
    "seconds": lambda value, unit: formats.seconds(value),
    "size": lambda value, unit: formats.size(value),
    "share": lambda value, unit: formats.share(value),
    "ratio": lambda interval, unit: formats.ratio(interval),
    "between": lambda interval, unit: formats.measure(interval, "share"),
    "measure": lambda figure, unit: formats.measure(figure, getattr(figure, "unit", unit)),
    "difference": formats.difference,
    "judged": lambda figure, unit: f"{formats.difference(figure, getattr(figure, 'unit', unit))}: {figure.verdict}",
}
"""Each function takes a figure and the unit of its metric, "share" or "", and gives the text of a cell. A figure may
have a `unit` of its own."""


class Column(NamedTuple):
    """`heading` may have two lines. `path` is the figure's path in the document of a row. `how` is a key of FORMATS. A
    cell is an alarm where the value at the path `alarm` is true."""

    heading: str
    path: str
    how: str
    alarm: str | None = None

    def text(self, document: Any, unit: str = "") -> str:
        return as_text(value_at(document, self.path), self.how, unit)

    def is_alarm(self, document: Any) -> bool:
        return self.alarm is not None and bool(value_at(document, self.alarm))


class Row(NamedTuple):
    """`colour` is an index of the palette, or None for no coloured mark. `title` is the tooltip. With a `pointer`, each
    cell names its figure (`data-of`, a JSON pointer) and its format (`data-as`)."""

    name: str
    colour: int | None
    document: Any
    unit: str = ""
    pointer: str = ""
    id: str = ""
    title: str = ""

    def parts(self, name: str) -> "Iterable[Row]":
        """One row for each document in the field `name` of this row's document."""
        for number, part in enumerate(getattr(self.document, name)):
            pointer = f"{self.pointer}/{name}/{number}"
            yield self._replace(document=part, unit=getattr(part, "unit", ""), pointer=pointer)


def as_text(value: Any, how: str, unit: str = "") -> str:
    return formats.NOTHING if value is None else FORMATS[how](value, unit)


def value_at(document: Any, path: str) -> Any:
    """The value at a path like `/accuracy/n`; None where a part of the path is missing or None."""
    for part in filter(None, path.split("/")):
        document = document.get(part) if isinstance(document, dict) else getattr(document, part, None)
    return document
