"""The first rows of a user's data: enough to guess what its columns are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from variants.document import explain
from variants.errors import InputError
from variants.home import home, sources_of
from variants.tasks.data.definition import BOXES, Data
from variants.tasks.data.rows import SEPARATORS, read_rows

FIELD = "--data"
MOST_ROWS = 2000
FLAGS = {
    "uri": FIELD, "format": "--format", "columns": "--columns", "images": "--images", "classes": "--names",
    "labels": "--labels", "name_pattern": "--file-names",
}  # fmt: skip
"""The option of `understudy init` for each field of `Data`."""


@dataclass(frozen=True)
class Table:
    """Up to `MOST_ROWS` rows of the data as text, without images and boxes. `count` is the number of all rows: that of
    a longer file follows from its size."""

    path: Path
    format: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str]]
    count: int

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]

    def kinds(self, column: str) -> Counter[str]:
        """How often each value stands in a column."""
        return Counter(self.values(column))


def data_of(fields: Mapping[str, Any]) -> Data:
    """The definition of the data. Raises InputError that names the option."""
    try:
        return Data.model_validate(dict(fields))
    except ValidationError as error:
        fault = explain(error)
        raise InputError(fault.message, field=FLAGS.get((fault.field or "uri").split("[")[0], FIELD)) from None


def read_table(data: Data) -> Table:
    """The first rows. Raises InputError that names the option, for data that is not of its format."""
    assert data.uri is not None
    path = Path(data.uri)
    try:
        form = data.format_of(data.uri)
    except ValueError as error:
        raise InputError(str(error), field="--format") from None
    for field, uri in data.beside.items():
        if not Path(uri).exists():
            raise InputError(f"{uri}: no such file or folder", field=FLAGS[field])
    beside = {field: Path(uri) for field, uri in data.beside.items()}
    columns, rows = read_rows(path, form, data, beside, sources_of(home()) / "datasets")
    head = list(islice(rows, MOST_ROWS))
    if not head:
        raise InputError(f"{path} has no rows", field=FIELD)
    shown = [name for name in columns if not (name == "image" and form in ("images", *BOXES))]
    text = [{name: "" if row[name] is None else str(row[name]) for name in shown} for row in head]
    if form in SEPARATORS and data.columns is None and (name := header_in(text)):
        raise InputError(
            f"{path}: its first line looks like a row, not like a header: {name!r} is also a value",
            field="--columns",
            mend="name its columns: --columns A,B",
        )
    count = len(head) if len(head) < MOST_ROWS else estimate(path, text)
    return Table(path, form, tuple(columns), text, count)


def header_in(rows: Sequence[Mapping[str, str]]) -> str | None:
    """The first column whose name is also one of its values."""
    return next((name for name in rows[0] if any(row[name] == name for row in rows)), None)


def estimate(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """How many rows a file or folder has that is longer than its head."""
    if path.is_dir():
        return sum(1 for each in path.rglob("*") if each.is_file())
    mean = sum(len(value.encode()) + 1 for row in rows for value in row.values()) / len(rows)
    return max(len(rows), round(path.stat().st_size / mean))
