"""A task of one's own: examples from the rows of a file, as its definition (`variants.tasks.task_file`) says."""

import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import TemplateError

from variants.document import canonical_sha256
from variants.errors import InputError
from variants.home import sources_of
from variants.metrics.answer_scores import SCORES, SHARES, score_of
from variants.metrics.base import Statistic
from variants.metrics.outcome import Outcome
from variants.progress import Progress
from variants.recipes.source import Source
from variants.tasks.base import Example, Input, Split, Task, shuffled, without_repeats
from variants.tasks.rows import Row, read_rows
from variants.tasks.task_file import Sandbox, Shares, SplitColumn, SplitFiles, TaskFile

LEAST_ROWS = 10
MAX_TOKENS = 64
"""Tokens of a generated answer, where the definition does not say how many."""
SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "calibration": "calibration", "validation": "calibration",
    "valid": "calibration", "dev": "calibration", "test": "test",
}  # fmt: skip
SOME = 5


class FileTask(Task):
    """`labels` are the values of the label column in order. For labels by likelihood each has a blank in front, unless
    the template ends with one. An input that occurs twice is used once."""

    def __init__(self, name: str, file: TaskFile, home: Path | None = None, progress: Progress | None = None) -> None:
        super().__init__(home, progress)
        self.name, self.file, self.kind = name, file, file.kind
        without = {"data": {"uri", "sha256", "licence"}}  # the bytes of the data are hashed by themselves
        self.definition_sha256 = canonical_sha256(file.model_dump(mode="json", exclude=without))
        if self.kind == "passage":
            from variants.metrics.perplexity import PERPLEXITY

            self.metrics = (PERPLEXITY,)
        if self.kind in SHARES:
            self.metrics = (Statistic(self.kind, "share", of=partial(mean_score, self.kind)),)
        if self.kind in SCORES:
            self.fields = {"max_tokens": file.max_tokens or MAX_TOKENS} | (
                {"stop": list(file.stop)} if file.stop else {}
            )
        self._template = Sandbox.overlay(undefined=StrictUndefined).from_string(file.input) if file.input else None

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(self.file.data.source(uri) for _, uri in self._files)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        if self.file.choices:
            return tuple(map(str, range(len(self.file.choices))))
        if self.kind in SCORES:  # as many as there are examples
            return ()
        return tuple(sorted({example.label for split in self._splits.values() for example in split} - {""}))

    @property
    def _files(self) -> list[tuple[Split | None, str]]:
        """The split and the address of each file. One file alone has all splits."""
        if isinstance(self.file.splits, SplitFiles):
            return list(self.file.splits.items())
        assert self.file.data.uri is not None
        return [(None, self.file.data.uri)]

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        splits: dict[Split, list[Example]] = {"test": [], "calibration": [], "train": []}
        unsplit: list[Example] = []
        for (split, uri), path in zip(self._files, files, strict=True):
            for own, example in self._read(path, uri):
                at = split or own
                (splits[at] if at else unsplit).append(example)
        if isinstance(self.file.splits, Shares):
            share_out(without_repeats(shuffled(unsplit)), self.file.splits, splits)
        seen: list[Example] = []
        for split in splits:  # the test comes first, so none of its examples is in another split
            splits[split] = without_repeats(shuffled(splits[split]), seen)
            seen += splits[split]
        if sum(map(len, splits.values())) < LEAST_ROWS:
            raise self._refuse(f"{len(seen)} different rows are too few", mend=f"give at least {LEAST_ROWS}")
        if not splits["test"]:
            raise self._refuse("no row is left for the test", mend="give more rows, or test a larger share")
        if splits["train"] and self.file.label and not self.file.choices and self.kind not in SCORES:
            self._check_labels(splits)
        return {split: tuple(examples) for split, examples in splits.items()}

    def _check_labels(self, splits: dict[Split, list[Example]]) -> None:
        known = {example.label for example in splits["train"]}
        for split, examples in splits.items():
            if never := next((each for each in examples if each.label not in known), None):
                message = f"the label {never.label.strip()!r} of {never.id} in {split} is never seen in training"
                raise self._refuse(message, mend="add rows with it to train, or remove it")

    def _read(self, path: Path, uri: str) -> Iterator[tuple[Split | None, Example]]:
        """The examples of a file, each with the split that its row names."""
        data = self.file.data
        try:
            form = data.format_of(uri)
        except ValueError as error:
            raise self._refuse(str(error), field="data.format") from None
        columns, rows = read_rows(path, form, data.columns, sources_of(self._home) / "datasets")
        self._check_columns(columns, path)
        for number, row in enumerate(rows, 1):
            at = str(row["file"]) if "file" in row else f"{path.name}, row {number}"
            yield self._split_of(row, at), Example(f"{self.name}-{at}", self._input(row, at), self._label(row, at))

    def _check_columns(self, columns: Sequence[str], path: Path) -> None:
        named = {"image": self.file.image, "label": self.file.label}
        wanted = [(name, field) for field, name in named.items() if name]
        wanted += [(name, "choices") for name in self.file.choices or ()]
        wanted += [(name, "input") for name in self.file.columns]
        if isinstance(self.file.splits, SplitColumn):
            wanted.append((self.file.splits.column, "splits.column"))
        for name, field in wanted:
            if name not in columns:
                shown = ", ".join(columns[: 4 * SOME])
                raise self._refuse(f"{path} has no column {name!r}", field=field, mend=f"its columns are {shown}")

    def _input(self, row: Row, at: str) -> Input:
        if self.file.image:
            return self._image(row[self.file.image], at)
        assert self._template is not None
        filled = {column: "" if value is None else value for column, value in row.items()}
        if not any(str(filled[column]).strip() for column in self.file.columns):
            raise self._refuse(f"{at}: the input is empty", field="input", mend="remove the row")
        try:
            text = self._template.render(filled)
        except TemplateError as error:
            raise self._refuse(f"{at}: {error.message}", field="input") from None
        if self.file.choices:
            return (text, *(self._after(text, self._value(row, name, at)) for name in self.file.choices))
        return text

    def _image(self, given: Any, at: str) -> bytes:
        from PIL import Image, UnidentifiedImageError

        data = given.get("bytes") if isinstance(given, dict) else given
        if not isinstance(data, bytes):
            raise self._refuse(f"{at}: {self.file.image!r} is no image", field="image")
        try:
            Image.open(io.BytesIO(data)).close()
        except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
            raise self._refuse(f"{at} is no image that can be read", field="image", mend="remove the file") from None
        return data

    def _label(self, row: Row, at: str) -> str:
        if self.file.label is None:
            return ""
        value = self._value(row, self.file.label, at)
        if self.file.labels is not None:
            if value not in self.file.labels:
                known = ", ".join(list(self.file.labels)[:SOME])
                raise self._refuse(f"{at}: the label {value!r} has no name", field="labels", mend=f"named are {known}")
            value = self.file.labels[value]
        if self.file.choices:
            if not (value.isdecimal() and int(value) < len(self.file.choices)):
                most = len(self.file.choices) - 1
                raise self._refuse(f"{at}: {value!r} is no position of a choice", field="label", mend=f"0 to {most}")
            return str(int(value))
        return self._after(self.file.input or "", value) if self.kind == "text" else value

    def _split_of(self, row: Row, at: str) -> Split | None:
        if not isinstance(self.file.splits, SplitColumn):
            return None
        value = self._value(row, self.file.splits.column, at)
        if value.lower() not in SPLITS:
            known = ", ".join(SPLITS)
            raise self._refuse(f"{at}: {value!r} is no split", field="splits.column", mend=f"one of {known}")
        return SPLITS[value.lower()]

    def _value(self, row: Row, column: str, at: str) -> str:
        value = row[column]
        text = "" if value is None else str(value).strip()
        if not text:
            raise self._refuse(f"{at}: the column {column!r} is empty", mend="fill it, or remove the row")
        return text

    @staticmethod
    def _after(text: str, continuation: str) -> str:
        return continuation if text[-1:].isspace() else f" {continuation}"

    def _refuse(self, message: str, field: str = "data", mend: str | None = None) -> InputError:
        return InputError(f"{self.name}: {message}", field=f"tasks.{self.name}.{field}", mend=mend)


def mean_score(scorer: str, outcomes: Sequence[Outcome]) -> float:
    return math.fsum(score_of(scorer, each.answer, each.label) or 0.0 for each in outcomes) / len(outcomes)


def share_out(examples: Sequence[Example], shares: Shares, splits: dict[Split, list[Example]]) -> None:
    """Add the examples to the splits, label by label: each split has the labels in the same shares, and a rare label is
    in train."""
    by_label: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        by_label[example.label].append(example)
    for group in by_label.values():
        test = round(len(group) * shares.test)
        calibration = test + round(len(group) * shares.calibration)
        splits["test"] += group[:test]
        splits["calibration"] += group[test:calibration]
        splits["train"] += group[calibration : calibration + round(len(group) * shares.train)]
