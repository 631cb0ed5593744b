"""The first rows of a user's data: enough to guess what its columns are."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from variants.document import explain
from variants.errors import InputError
from variants.home import home, sources_of
from variants.tasks.data.definition import BOXES, Data
from variants.tasks.data.rows import SEPARATORS, read_rows

FIELD = "--data"
MOST_ROWS, MOST_KINDS = 2000, 5000
FLAGS = {
    "uri": FIELD, "format": "--format", "columns": "--columns", "images": "--images", "classes": "--names",
    "labels": "--labels", "name_pattern": "--file-names",
}  # fmt: skip
"""The option of `understudy init` for each field of `Data`."""


@dataclass(frozen=True)
class Table:
    """The first `MOST_ROWS` rows of the data as text, without images and boxes, and what all rows say: their `count`,
    and how often each value stands in a column. A column of more than `MOST_KINDS` values has none there.
    `objects` are columns with lists or mappings in place of text."""

    path: Path
    format: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str]]
    count: int
    kinds_by_column: Mapping[str, Counter[str]]
    objects: frozenset[str] = frozenset()

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]

    def kinds(self, column: str) -> Counter[str]:
        """How often each value stands in a column, by all rows; empty for one of too many values."""
        return self.kinds_by_column.get(column, Counter())


def data_of(fields: Mapping[str, Any]) -> Data:
    """The definition of the data. Raises InputError that names the option."""
    try:
        return Data.model_validate(dict(fields))
    except ValidationError as error:
        fault = explain(error)
        raise InputError(fault.message, field=FLAGS.get((fault.field or "uri").split("[")[0], FIELD)) from None


def read_table(data: Data, path: Path, is_named: bool) -> Table:
    """The rows of a file or folder. `is_named`: the user names columns, so the first line is a header. Raises
    InputError that names the option, for data that is not of its format."""
    assert data.uri is not None
    try:
        form = data.format_of(data.uri)
    except ValueError as error:
        raise InputError(str(error), field="--format") from None
    for field, uri in data.beside.items():
        if not Path(uri).exists():
            raise InputError(f"{uri}: no such file or folder", field=FLAGS[field])
    beside = {field: Path(uri) for field, uri in data.beside.items()}
    columns, rows = read_rows(path, form, data, beside, sources_of(home()) / "datasets")
    shown = [name for name in columns if not (name == "image" and form in ("images", *BOXES))]
    head: list[dict[str, str]] = []
    kinds: dict[str, Counter[str]] = {name: Counter() for name in shown}
    count, objects = 0, set()
    for row in rows:
        count += 1
        objects |= {name for name in shown if isinstance(row[name], dict | list)}
        text = {name: "" if row[name] is None else str(row[name]) for name in shown}
        if len(head) < MOST_ROWS:
            head.append(text)
        for name in list(kinds):
            kinds[name][text[name]] += 1
            if len(kinds[name]) > MOST_KINDS:
                del kinds[name]
    if not head:
        raise InputError(f"{path} has no rows", field=FIELD)
    may_lack_header = form in SEPARATORS and data.columns is None and not is_named
    if may_lack_header and (value := header_in(head)):
        raise InputError(
            f"{path}: its first line looks like a row, not like a header: {value!r} is also a value",
            field="--columns",
            mend="name its columns: --columns A,B; or name the label's column with --label, if it is a header",
        )
    return Table(path, form, tuple(columns), head, count, kinds, frozenset(objects))


def header_in(rows: Sequence[Mapping[str, str]]) -> str | None:
    """The first column whose name is also one of its values."""
    return next((name for name in rows[0] if any(row[name] == name for row in rows)), None)
