"""The first rows of a user's data: enough to guess what its columns are."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from variants.errors import InputError
from variants.tasks.rows import SEPARATORS, header_of
from variants.tasks.task_file import Format

FIELD = "--data"
MOST_ROWS = 2000
IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Table:
    """Up to `MOST_ROWS` rows of the data, as text, and how many rows there are, by the file's size where it is longer
    than that. For a folder of images the columns are `image` and `label`, and a row's image is its file's name."""

    path: Path
    format: Format
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, str]]
    count: int

    def values(self, column: str) -> list[str]:
        return [row[column] for row in self.rows]

    def kinds(self, column: str) -> Counter[str]:
        """How often each value stands in a column."""
        return Counter(self.values(column))


def read_table(path: Path, form: Format, columns: tuple[str, ...] | None) -> Table:
    """The first rows of a file, or the images of a folder. Raises InputError for data that is not of this format."""
    if form == "images":
        rows = [{"image": each.name, "label": each.parent.name} for each in images_in(path)]
        return Table(path, form, ("image", "label"), rows, len(rows))
    readers = {"csv": read_separated, "tsv": read_separated, "jsonl": read_json_lines, "parquet": read_parquet}
    names = columns or (tuple(header_of(path, SEPARATORS[form])) if form in SEPARATORS else None)
    try:
        read: list[Mapping[str, Any]] = list(
            islice(readers.get(form, read_lines)(path, form, names, columns is None), MOST_ROWS)
        )
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as {form}: {error}", field=FIELD) from None
    if not read:
        raise InputError(f"{path} has no rows", field=FIELD)
    if columns is None and form in SEPARATORS and (name := header_in(read)):
        raise InputError(
            f"{path}: its first line looks like a row, not like a header: {name!r} is also a value",
            field="--columns",
            mend="name its columns: --columns A,B",
        )
    text = [{name: "" if value is None else str(value) for name, value in row.items()} for row in read]
    return Table(path, form, tuple(text[0]), text, len(text) if len(text) < MOST_ROWS else estimate(path, text))


def header_in(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The first column whose name is also one of its values."""
    return next((name for name in rows[0] if any(row[name] == name for row in rows)), None)


def images_in(folder: Path) -> list[Path]:
    images = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGES)
    if not images:
        raise InputError(f"{folder} holds no images ({', '.join(IMAGES)})", field=FIELD)
    return images


def read_separated(
    path: Path, form: Format, names: Sequence[str] | None, has_header: bool
) -> Iterator[Mapping[str, Any]]:
    assert names is not None
    with path.open(encoding="utf-8-sig", newline="") as file:
        plain = form == "tsv"
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if plain else csv.reader(file)
        for number, cells in enumerate(rows, 1):
            if number == 1 and has_header:
                continue
            if len(cells) != len(names):
                raise ValueError(f"line {number} has {len(cells)} columns, not {len(names)}")
            yield dict(zip(names, cells, strict=True))


def read_json_lines(path: Path, form: Format, names: object, has_header: bool) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            row = json.loads(line) if line.strip() else None
            if row is not None and not isinstance(row, dict):
                raise ValueError(f"line {number} is no JSON object")
            if row:
                yield row


def read_parquet(path: Path, form: Format, names: object, has_header: bool) -> Iterator[Mapping[str, Any]]:
    from pyarrow.parquet import ParquetFile

    for batch in ParquetFile(path).iter_batches(batch_size=MOST_ROWS):
        yield from batch.to_pylist()


def read_lines(path: Path, form: Format, names: object, has_header: bool) -> Iterator[Mapping[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from ({"text": line.rstrip("\n")} for line in file)


def estimate(path: Path, rows: Sequence[Mapping[str, str]]) -> int:
    """How many rows a file has that is longer than its head, by its size."""
    mean = sum(len(value.encode()) + 1 for row in rows for value in row.values()) / len(rows)
    return max(len(rows), round(path.stat().st_size / mean))
