"""Reads the rows of a task's data: CSV, TSV, JSON lines, Parquet and text with the `datasets` library, folders of
images, and boxes.

All values of CSV and TSV files are text as it stands in the file: "007" stays "007", and "NA" is no missing value.
"""

import csv
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from variants.errors import InputError
from variants.files import shared
from variants.tasks.data.coco import read_coco
from variants.tasks.data.definition import Data, Form
from variants.tasks.data.image_files import images_by_folder, named_images
from variants.tasks.data.yolo import lines_of, read_yolo

Row = Mapping[str, Any]
EMPTY = "corresponds to no data"
"""What `datasets` says of a file without rows."""
SEPARATORS: Mapping[Form, str] = {"csv": ",", "tsv": "\t"}


def read_rows(
    path: Path, form: Form, data: Data, beside: Mapping[str, Path], cache: Path
) -> tuple[list[str], Iterator[Row]]:
    """The columns of a file or folder, and its rows. A row of a folder of images has `image`, the bytes of a file, and
    `label`, the name of its folder. A row with boxes has them as `label`.

    `beside` are the further files of `data`. The library's own copy of the data lies in `cache`. Raises InputError for
    a file that is not of this format.
    """
    if data.columns is not None and form not in SEPARATORS:
        message = f"{path}: columns name those of a CSV or TSV file without a header, and this is read as {form}"
        raise InputError(message, field="data.columns", mend="leave it out")
    if form == "coco":
        return ["image", "label"], read_coco(path, beside["images"])
    if form == "yolo":
        classes = beside.get("classes", data.classes if isinstance(data.classes, tuple) else None)
        return ["image", "label"], read_yolo(path, beside.get("images", path), classes)
    if form == "images":
        if data.name_pattern is not None:
            return named_images(path, data.name_pattern)
        return ["image", "label"], images_by_folder(path)
    if form == "hub":
        return hub_rows(path, data.config, cache)
    table = table_of(path, form, data.columns, cache)
    names = list(table.column_names)
    if "labels" in beside:
        return [*names, "label"], labelled(path, table, beside["labels"])
    if form == "text":  # blank lines separate passages
        return names, (row for row in table if row["text"].strip())
    return names, iter(table)


def table_of(path: Path, form: Form, columns: tuple[str, ...] | None, cache: Path) -> Any:
    """The table, by the `datasets` library. Raises InputError for a file that is not of this format."""
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("datasets").setLevel(logging.CRITICAL)  # it writes what the error below says
    options: dict[str, Any] = {}
    if form in SEPARATORS:
        names = list(columns or header_of(path, SEPARATORS[form]))
        text = datasets.Features({name: datasets.Value("string") for name in names})
        options = {"sep": SEPARATORS[form], "features": text, "keep_default_na": False, "na_filter": False}
        options |= {"column_names": names, "header": None} if columns else {}
        if form == "tsv":
            options["quoting"] = csv.QUOTE_NONE
    builder = {"tsv": "csv", "jsonl": "json"}.get(form, form)
    try:
        with shared(lock_of_copies(cache)):
            table = datasets.load_dataset(builder, data_files=str(path), split="train", cache_dir=str(cache), **options)
            mark_used(table)
        return table
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        reason = reason_of(error)
        if EMPTY in reason:
            raise InputError(f"{path} has no rows", field="data") from None
        mend = "name as many columns as the longest line has" if "Expected" in reason and "saw" in reason else None
        raise InputError(f"{path} cannot be read as {form}: {reason}", field="data", mend=mend) from error


def hub_rows(path: Path, config: str | None, cache: Path) -> tuple[list[str], Iterator[Row]]:
    """The columns and rows of a data set of the hub, all its splits one after the other. The column `split` names the
    split of a row, unless the data has such a column. Raises InputError for what the library cannot read."""
    import datasets

    datasets.disable_progress_bars()
    try:
        with shared(lock_of_copies(cache)):
            tables = datasets.load_dataset(str(path), config, cache_dir=str(cache))
            mark_used(*tables.values())
    except (datasets.exceptions.DatasetsError, ValueError, OSError) as error:
        mend = "give data.config" if config is None else "check data.config"
        raise InputError(f"the data set cannot be read: {reason_of(error)}", field="data", mend=mend) from error
    first = next(iter(tables.values()))
    pictures = [name for name, kind in first.features.items() if isinstance(kind, datasets.Image)]
    for name in pictures:  # as bytes, not decoded
        tables = tables.cast_column(name, datasets.Image(decode=False))
    rows = ({"split": split, **row} for split, table in tables.items() for row in table)
    return list(dict.fromkeys([*first.column_names, "split"])), rows


def lock_of_copies(cache: Path) -> Path:
    """Held, shared, while a copy in `cache` is made or opened. Who holds it alone may remove copies."""
    return cache / ".lock"


def mark_used(*tables: Any) -> None:
    """Give the copies that were opened the time of now: `variants.build.garbage` keeps young ones."""
    for file in (file for table in tables for file in table.cache_files):
        with suppress(PermissionError):  # nobody removes a copy from a read-only folder
            os.utime(file["filename"])


def labelled(path: Path, table: Any, labels: Path) -> Iterator[Row]:
    """The rows with a column `label` from a second file, one a line. Raises InputError for another number of lines."""
    if "label" in table.column_names:
        mend = "leave data.labels out, or rename the column"
        raise InputError(f"{path} has a column 'label' of its own", field="data.labels", mend=mend)
    lines = lines_of(labels)
    if len(lines) != len(table):
        message = f"{labels} has {len(lines)} labels, and {path} has {len(table)} rows"
        raise InputError(message, field="data.labels", mend="give one label a row")
    return ({**row, "label": label} for row, label in zip(table, lines, strict=True))


def header_of(path: Path, separator: str) -> list[str]:
    """The names in a file's first line. Raises InputError for a file without one, and for a name that occurs twice."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=separator), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no table of UTF-8 text: {error}", field="data", mend="save it as UTF-8") from None
    if not any(names):
        raise InputError(f"{path} is empty", field="data")
    other = next((each for each in (";", "\t") if separator == "," and len(names) == 1 and each in names[0]), None)
    if other:
        mend = "format: tsv" if other == "\t" else "save it with commas"
        raise InputError(f"{path}: its columns are separated by {other!r}, not by commas", field="data", mend=mend)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"{path}: two columns are called {twice!r}", field="data", mend="give `columns`")
    return names


def reason_of(error: BaseException) -> str:
    """The first line of the innermost cause: the library's own errors say only that something failed."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
