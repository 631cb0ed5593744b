"""The definition of a task of one's own: where its rows are, and how a row becomes an example.

    tasks:
      intents:
        data: {uri: ./intents.csv}
        input: "Message: {{ text }}\\nIntent:"
        label: intent
        scorer: choice

A stack file and a campaign file hold such definitions below `tasks`, in place or as the path of a YAML file.
`variants.tasks.file_task` reads the data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from jinja2 import TemplateSyntaxError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import AfterValidator, Field, field_validator, model_validator

from variants.document import Document, Sha256
from variants.errors import StackError
from variants.metrics.answer_scores import SCORES, Generated
from variants.recipes.source import Source
from variants.tasks.base import Kind, Split

OTHERS = ("choice", "label", "ranked", "passage")


def check_scorer(name: str) -> str:
    """The same name. Raises ValueError where there is no such scorer, PluginError for a plug-in that cannot be used."""
    if name not in OTHERS and name not in SCORES:
        raise ValueError(f"there is no scorer {name!r}: known are {', '.join((*OTHERS, *SCORES))}")
    if name in SCORES:
        _ = SCORES[name]
    return name


Scorer = Annotated[Literal["choice", "label", "ranked", "passage"] | Generated, AfterValidator(check_scorer)]
Format = Literal["csv", "tsv", "jsonl", "parquet", "text", "images"]
Column = Annotated[str, Field(min_length=1, max_length=200)]
Share = Annotated[float, Field(ge=0, le=1)]
Sandbox = ImmutableSandboxedEnvironment()
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
    """The rows: a path, or a file in a wheel (`variants.recipes.source`).

    The format follows from the file's ending: .csv, .tsv, .jsonl, .parquet, .txt (a row a line, column `text`). A
    folder holds images, one folder a label. `columns` names the columns of a CSV or TSV file without a header."""

    uri: Annotated[str, Field(min_length=1)] | None = None
    sha256: Sha256 | None = None
    licence: Annotated[str, Field(min_length=1)] = "not stated"
    format: Format | None = None
    columns: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def check_uri(self) -> Self:
        if self.uri is not None:
            self.source(self.uri)
        return self

    def source(self, uri: str) -> Source:
        """The source of one file. ValueError for a `uri` in an unknown form, and for a hub id."""
        source = Source(uri=uri, sha256=self.sha256 if uri == self.uri else None, licence=self.licence)
        if source.kind == "hub":
            raise ValueError(f"{uri} is a hub id, and data sets of the hub are not read: give a file as ./file.csv")
        return source

    def format_of(self, uri: str) -> Format:
        """The format of the file at `uri`. ValueError where neither `format` nor the ending says it."""
        if self.format:
            return self.format
        path = Path(uri).expanduser()
        if uri.endswith("/") or path.is_dir():
            return "images"
        if (suffix := path.suffix.lower()) not in SUFFIXES:
            known = ", ".join(sorted(set(SUFFIXES.values())))
            raise ValueError(f"{uri} has no known ending: give `format`, one of {known} or images")
        return SUFFIXES[suffix]


class TaskFile(Document):
    """One task. `input` is a Jinja template over a row's columns (sandboxed). `label` is the column of the label;
    `labels` gives its values other names. `choices` are columns with the endings to choose from: `label` is then the
    position of the right one, from 0. `image` is a column of images.

    `scorer`:

    - "choice": the likeliest label after `input`, or the likeliest of `choices` (text generation)
    - "label": a classifier's first label is the right one
    - "ranked": the right label is among an image classifier's first five
    - "passage": how surprising the text is (perplexity); there is no label
    - "exact" and so on: the answer of at most `max_tokens` tokens that the model generates, up to the first of `stop`
      (`variants.metrics.answer_scores`)
    """

    data: Data = Data()
    input: Annotated[str, Field(min_length=1)] | None = None
    image: Column | None = None
    label: Column | None = None
    labels: dict[str, Annotated[str, Field(min_length=1)]] | None = None
    choices: Annotated[tuple[Column, ...], Field(min_length=2)] | None = None
    scorer: Scorer
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    stop: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(max_length=16)] = ()
    splits: Shares | SplitColumn | SplitFiles = Shares()

    @field_validator("input")
    @classmethod
    def check_template(cls, template: str | None) -> str | None:
        if template is not None:
            try:
                names = columns_of(template)
            except TemplateSyntaxError as error:
                raise ValueError(f"is not a Jinja template: {error.message}, line {error.lineno}") from None
            if not names:
                raise ValueError("names no column: write one as {{ column }}")
        return template

    @field_validator("splits", mode="before")
    @classmethod
    def choose_splits(cls, given: Any) -> Any:
        """Chosen by what is given, so that an error names the field and not three kinds of splits."""
        if not isinstance(given, dict):
            return given
        if "column" in given:
            return SplitColumn.model_validate(given)
        if any(isinstance(value, str) for value in given.values()):
            return SplitFiles.model_validate(given)
        return Shares.model_validate(given)

    @model_validator(mode="after")
    def check_parts(self) -> Self:
        if self.data.uri is None and not isinstance(self.splits, SplitFiles):
            raise ValueError("data.uri: name the file, the folder or the hub id of the rows")
        if isinstance(self.splits, SplitFiles):
            for _, uri in self.splits.items():
                self.data.source(uri)
        if (self.input is None) == (self.image is None):
            raise ValueError("give either `input`, a template over the row's columns, or `image`, a column of images")
        if self.image is not None and self.scorer not in ("label", "ranked"):
            raise ValueError(f"scorer: {self.scorer} reads text: use label or ranked for images")
        if self.image is None and self.scorer == "ranked":
            raise ValueError("scorer: ranked reads images: use choice or label for text")
        if self.label is None and self.scorer != "passage":
            raise ValueError("label: name its column")
        if self.label is not None and self.scorer == "passage":
            raise ValueError("label: a passage has none: leave it out")
        if self.scorer not in SCORES and (self.max_tokens is not None or self.stop):
            raise ValueError(f"max_tokens and stop: only with a scorer of generated answers, not {self.scorer}")
        if self.choices is not None and self.scorer != "choice":
            raise ValueError(f"choices: only with scorer choice, not {self.scorer}")
        return self

    @property
    def columns(self) -> list[str]:
        """The columns that the template names."""
        return columns_of(self.input) if self.input else []

    @property
    def kind(self) -> Kind:
        """The kind of its examples."""
        if self.scorer == "choice":
            return "text" if self.choices is None else "choice"
        if self.scorer == "label":
            return "article" if self.image is None else "image"
        return self.scorer


def columns_of(template: str) -> list[str]:
    return sorted(meta.find_undeclared_variables(Sandbox.parse(template)))


def with_task_files(document: Any) -> Any:
    """A stack or campaign as YAML has it, with the contents of the files that its `tasks` name by path.

    Only who reads such a file from disk calls this: a stack that comes over the network names no files. Raises
    StackError for a file that cannot be read."""
    own = document.get("tasks") if isinstance(document, dict) else None
    if not isinstance(own, dict):
        return document
    read = {name: read_file(name, given) if isinstance(given, str) else given for name, given in own.items()}
    return document | {"tasks": read}


def read_file(name: str, path: str) -> Any:
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise StackError(f"{path} cannot be read: {error.strerror}", field=f"tasks.{name}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise StackError(f"{path} is not YAML: {' '.join(str(error).split())}", field=f"tasks.{name}") from None
