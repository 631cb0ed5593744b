"""The definition of a task's data: where its rows are, in which format, and how they are split.

`variants.tasks.data.rows` reads the rows.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import regex
from pydantic import Field, field_validator, model_validator

from variants.document import Document, Sha256, absent
from variants.recipes.source import Source
from variants.tasks.base import Split

Format = Literal["csv", "tsv", "jsonl", "parquet", "text", "images", "coco", "yolo"]
Form = Format | Literal["hub"]
HUB = "hf:datasets/"
BOXES: tuple[Format, ...] = ("coco", "yolo")
"""The formats whose labels are boxes."""
Column = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]
Uri = Annotated[str, Field(min_length=1)]
Class = Annotated[str, Field(min_length=1)]
SPLITS: Mapping[str, Split] = {
    "train": "train", "training": "train", "calibration": "calibration", "validation": "calibration",
    "valid": "calibration", "dev": "calibration", "test": "test",
}  # fmt: skip
"""The splits by the names that data gives them."""
SUFFIXES: Mapping[str, Format] = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".json": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet", ".txt": "text", ".text": "text",
}  # fmt: skip


class Shares(Document):
    """The share of each split in all rows. What is left over is not used."""

    train: Share = 0.7
    calibration: Share = 0.1
    test: Share = 0.2

    @model_validator(mode="after")
    def check_sum(self) -> Self:
        if self.train + self.calibration + self.test > 1 + 1e-9:
            raise ValueError("the shares are above 1 in all")
        if self.test == 0:
            raise ValueError("test: 0, so nothing can be evaluated: give it a share")
        return self


class SplitColumn(Document):
    """A column that names the split of its row: `train`, `calibration` (or `validation`, `dev`) or `test`."""

    column: Column


class SplitFiles(Document):
    """A file for each split, in the format of `data`. `data.uri` is not read then."""

    train: str | None = None
    calibration: str | None = None
    test: str

    def items(self) -> list[tuple[Split, str]]:
        pairs: tuple[tuple[Split, str | None], ...] = (
            ("train", self.train), ("calibration", self.calibration), ("test", self.test),
        )  # fmt: skip
        return [(split, uri) for split, uri in pairs if uri is not None]


class Data(Document):
    """The rows: a path, a file in a wheel, or a data set of the hub (`variants.recipes.source`).

    The format follows from the file's ending: .csv, .tsv, .jsonl, .parquet, .txt (a row a line, column `text`). A
    folder holds images, one folder a label. Boxes have a format by name: "coco" is COCO's JSON, "yolo" a folder of
    .txt files.

    - `columns`: the columns of a CSV or TSV file without a header.
    - `images`: the folder of the images whose paths stand in a table or in COCO's JSON, or that YOLO's files are of.
    - `classes`: YOLO's classes by number, or the path of a file with one a line.
    - `labels`: a file with the label of each row, one a line: the column `label`.
    - `config`: the configuration of a data set of the hub that has several.
    - `name_pattern`: a regular expression over the whole name of each image of a folder. Its named groups are columns.
    """

    uri: Uri | None = None
    sha256: Sha256 | None = None
    licence: Annotated[str, Field(min_length=1)] = "not stated"
    format: Format | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None
    images: Uri | None = Field(default=None, exclude_if=absent)
    classes: Annotated[tuple[Class, ...], Field(min_length=1)] | Uri | None = Field(default=None, exclude_if=absent)
    labels: Uri | None = Field(default=None, exclude_if=absent)
    config: Annotated[str, Field(min_length=1)] | None = Field(default=None, exclude_if=absent)
    name_pattern: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(default=None, exclude_if=absent)

    @field_validator("name_pattern")
    @classmethod
    def check_pattern(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = regex.compile(pattern).groupindex
            except regex.error as error:
                raise ValueError(f"is not a regular expression: {error}") from None
            if not groups:
                raise ValueError("names no group: write one as (?P<label>...)")
            if taken := {"image", "file"} & groups.keys():
                raise ValueError(f"the group {min(taken)!r} has the name of another column: choose another")
        return pattern

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        for uri in (self.uri, *self.beside.values()):
            if uri is not None:
                self.source(uri)
        of_hub = self.uri is not None and self.uri.startswith(HUB)
        if of_hub and (self.format or self.columns or self.beside or self.name_pattern):
            raise ValueError(f"{self.uri} says its own format and columns: leave all but uri, config and licence out")
        if self.config is not None and self.uri is not None and not of_hub:
            raise ValueError(f"config: only with a data set of the hub, {HUB}org/name")
        if self.columns is not None and self.format not in (None, "csv", "tsv"):
            raise ValueError(f"columns: only with a CSV or TSV file without a header, not {self.format}")
        if self.format == "coco" and self.images is None:
            raise ValueError("images: name the folder that file_name is relative to")
        if self.classes is not None and self.format != "yolo":
            raise ValueError("classes: only with format yolo")
        if self.name_pattern is not None and self.format not in (None, "images"):
            raise ValueError(f"name_pattern: only with a folder of images, not {self.format}")
        if self.labels is not None and (self.format in ("images", *BOXES) or self.name_pattern is not None):
            raise ValueError("labels: only beside a file of rows, not beside images")
        return self

    @property
    def beside(self) -> dict[str, str]:
        """The addresses of further files and folders, by the field that names them."""
        classes = self.classes if isinstance(self.classes, str) else None
        given = {"images": self.images, "classes": classes, "labels": self.labels}
        return {field: uri for field, uri in given.items() if uri is not None}

    def source(self, uri: str) -> Source:
        """The source of one file. ValueError for a `uri` in an unknown form, and for a hub id."""
        source = Source(uri=uri, sha256=self.sha256 if uri == self.uri else None, licence=self.licence)
        if source.kind == "hub":
            raise ValueError(f"{uri} is a hub id of a model: give a file as ./file.csv, or a data set as {HUB}org/name")
        return source

    def format_of(self, uri: str) -> Form:
        """The format of the file at `uri`. ValueError where neither `format` nor the ending says it."""
        if uri.startswith(HUB):
            return "hub"
        if self.format:
            return self.format
        path = Path(uri).expanduser()
        if uri.endswith("/") or path.is_dir():
            return "images"
        if (suffix := path.suffix.lower()) not in SUFFIXES:
            known = ", ".join(sorted(set(SUFFIXES.values())))
            raise ValueError(f"{uri} has no known ending: give `format`, one of {known}, images, coco or yolo")
        return SUFFIXES[suffix]
