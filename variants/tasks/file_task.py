"""A task of one's own: examples from the rows of a file, as its definition (`variants.tasks.task_file`) says."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined
from jinja2.exceptions import TemplateError

from variants.document import canonical_sha256
from variants.errors import InputError
from variants.home import sources_of
from variants.metrics.answer_scores import SCORES, is_share, made_by
from variants.metrics.detection import METRICS as DETECTION
from variants.metrics.mean_score import MeanScore
from variants.metrics.spearman import SPEARMAN
from variants.progress import Progress
from variants.recipes.source import Source
from variants.tasks.base import Chat, Example, Input, Split, Task, shuffled, without_repeats
from variants.tasks.data.definition import SPLITS, Shares, SplitColumn, SplitFiles
from variants.tasks.data.doubts import doubts_of
from variants.tasks.data.image_files import image_at, size_of
from variants.tasks.data.rows import Row, read_rows
from variants.tasks.task_file import Sandbox, TaskFile
from variants.vision.boxes import Box, from_text, to_text

LEAST_ROWS = 10
MAX_TOKENS = 64
"""Tokens of a generated answer, where the definition does not say how many."""
SOME = 5


class FileTask(Task):
    """`labels` are the values of the label column in order. For labels by likelihood each has a blank in front, unless
    the template ends with one. An input that occurs twice is used once."""

    def __init__(self, name: str, file: TaskFile, home: Path | None = None, progress: Progress | None = None) -> None:
        super().__init__(home, progress)
        self.name, self.file, self.kind = name, file, file.kind
        without = {"data": {"uri", "sha256", "licence", *file.data.beside}}  # bytes of files are hashed by themselves
        self.definition_sha256 = canonical_sha256(file.model_dump(mode="json", exclude=without))
        if scored_by := made_by(file.scorer):
            self.made_by = (scored_by,)
            self.definition_sha256 = canonical_sha256([self.definition_sha256, scored_by])
        if self.kind == "passage":
            from variants.metrics.perplexity import PERPLEXITY

            self.metrics = (PERPLEXITY,)
        if self.kind == "pair":
            self.metrics = (SPEARMAN,)
        if self.kind == "boxes":
            self.metrics = DETECTION
        if is_share(self.kind):
            self.metrics = (MeanScore(self.kind, "share"),)
        if self.kind in SCORES:
            self.fields = {"max_tokens": file.max_tokens or MAX_TOKENS} | (
                {"stop": list(file.stop)} if file.stop else {}
            )
            self.scoring = canonical_sha256([self.kind, self.fields])
        sandbox = Sandbox.overlay(undefined=StrictUndefined)
        self._templates = [sandbox.from_string(template) for template in file.templates]

    @property
    def sources(self) -> tuple[Source, ...]:
        uris = [*(uri for _, uri in self._files), *self.file.data.beside.values()]
        return tuple(self.file.data.source(uri) for uri in uris)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        if self.file.choices:
            return tuple(map(str, range(len(self.file.choices))))
        if self.kind == "boxes":
            texts = {example.label for split in self._splits.values() for example in split}
            return tuple(sorted({box.label for text in texts for box in from_text(text)}))
        if self._has_free_labels:  # as many as there are examples
            return ()
        return tuple(sorted({example.label for split in self._splits.values() for example in split} - {""}))

    @property
    def _has_free_labels(self) -> bool:
        """Whether a label is no class: a text to compare an answer with, a score, or boxes."""
        return self.kind in SCORES or self.kind in ("pair", "boxes")

    @property
    def doubts(self) -> tuple[str, ...]:
        """What is probably wrong with the data, although it can be used. Reads the data."""
        _ = self._splits
        return self._doubts

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
        own_files = self._files
        beside = dict(zip(self.file.data.beside, files[len(own_files) :], strict=True))
        for (split, uri), path in zip(own_files, files, strict=False):
            for own, example in self._read(path, uri, beside):
                at = split or own
                (splits[at] if at else unsplit).append(example)
        rows = [*unsplit, *(example for split in splits.values() for example in split)]
        if isinstance(self.file.splits, Shares):
            together = self._has_free_labels or not self.file.splits.train
            share_out(without_repeats(shuffled(unsplit)), self.file.splits, splits, together)
        seen: list[Example] = []
        for split in splits:  # the test comes first, so none of its examples is in another split
            splits[split] = without_repeats(shuffled(splits[split]), seen)
            seen += splits[split]
        if sum(map(len, splits.values())) < LEAST_ROWS:
            raise self._refuse(f"{len(seen)} different rows are too few", mend=f"give at least {LEAST_ROWS}")
        if not splits["test"]:
            raise self._refuse("no row is left for the test", mend="give more rows, or test a larger share")
        if splits["train"] and self.file.label and not self.file.choices and not self._has_free_labels:
            self._check_labels(splits)
        if self.kind == "boxes" and not any(from_text(example.label) for example in splits["test"]):
            raise self._refuse("no image of the test has a box", mend="give more images, or test a larger share")
        if self.kind == "pair" and len({float(example.label) for example in splits["test"]}) == 1:
            message = f"all {len(splits['test'])} scores of the test are equal: there is no order to compare with"
            raise self._refuse(message, field="label", mend="give pairs with different scores")
        self._doubts = doubts_of(rows, splits["test"], bool(self.file.label) and not self._has_free_labels)
        return {split: tuple(examples) for split, examples in splits.items()}

    def _check_labels(self, splits: dict[Split, list[Example]]) -> None:
        known = {example.label for example in splits["train"]}
        for split, examples in splits.items():
            if never := next((each for each in examples if each.label not in known), None):
                message = f"the label {never.label.strip()!r} of {never.id} in {split} is never seen in training"
                raise self._refuse(message, mend="add rows with it to train, or remove it")

    def _read(self, path: Path, uri: str, beside: Mapping[str, Path]) -> Iterator[tuple[Split | None, Example]]:
        """The examples of a file, each with the split that its row names."""
        data = self.file.data
        try:
            form = data.format_of(uri)
        except ValueError as error:
            raise self._refuse(str(error), field="data.format") from None
        columns, rows = read_rows(path, form, data, beside, sources_of(self._home) / "datasets")
        self._check_columns(columns, path)
        source = uri if form == "hub" else path.name
        for number, row in enumerate(rows, 1):
            at = str(row["file"]) if isinstance(row.get("file"), Path) else f"{source}, row {number}"
            given, label = self._input(row, at, beside), self._label(row, at)
            yield self._split_of(row, at), Example(f"{self.name}-{at}", given, label)

    def _check_columns(self, columns: Sequence[str], path: Path) -> None:
        named = {"image": self.file.image, "label": self.file.label}
        wanted = [(name, field) for field, name in named.items() if name]
        wanted += [(name, "choices") for name in self.file.choices or ()]
        wanted += [(name, "pair") for name in self.file.pair or ()]
        wanted += [(name, "input") for name in self.file.columns]
        if isinstance(self.file.splits, SplitColumn):
            wanted.append((self.file.splits.column, "splits.column"))
        for name, field in wanted:
            if name not in columns:
                shown = ", ".join(columns[: 4 * SOME])
                raise self._refuse(f"{path} has no column {name!r}", field=field, mend=f"its columns are {shown}")

    def _input(self, row: Row, at: str, beside: Mapping[str, Path]) -> Input:
        if self.file.image:
            return self._image(row[self.file.image], at, beside.get("images"))
        if self.file.pair:
            return tuple(self._value(row, name, at) for name in self.file.pair)
        filled = {column: "" if value is None else value for column, value in row.items()}
        if not any(str(filled[column]).strip() for column in self.file.columns):
            raise self._refuse(f"{at}: the input is empty", field="input", mend="remove the row")
        try:
            texts = [template.render(filled) for template in self._templates]
        except TemplateError as error:
            raise self._refuse(f"{at}: {error.message}", field="input") from None
        if self.file.messages:
            return Chat(tuple((each.role, text) for each, text in zip(self.file.messages, texts, strict=True)))
        (text,) = texts
        if self.file.choices:
            return (text, *(self._after(text, self._value(row, name, at)) for name in self.file.choices))
        return text

    def _image(self, given: Any, at: str, folder: Path | None) -> bytes:
        data = given.get("bytes") if isinstance(given, dict) else given
        if isinstance(data, str) and folder is None:
            mend = "name the folder that it is relative to, as data.images"
            raise self._refuse(f"{at}: {data!r} is the path of an image", field="data.images", mend=mend)
        try:
            if isinstance(data, str) and folder is not None:
                data = image_at(folder, data)
            if not isinstance(data, bytes):
                raise self._refuse(f"{at}: {self.file.image!r} is no image", field="image")
            size_of(data)
        except ValueError as error:
            raise self._refuse(f"{at}: {error}", field="image", mend="correct or remove it") from None
        return data

    def _label(self, row: Row, at: str) -> str:
        if self.file.label is None:
            return self.file.schema_text or ""
        if self.kind == "boxes":
            boxes: list[Box] = row[self.file.label]
            return to_text(box._replace(label=self._name(box.label, at)) for box in boxes)
        value = self._name(self._value(row, self.file.label, at), at)
        if self.kind == "pair" and not is_number(value):
            raise self._refuse(f"{at}: the score {value!r} is no number", field="label", mend="write it as 2.5")
        if self.file.choices:
            if not (value.isdecimal() and int(value) < len(self.file.choices)):
                most = len(self.file.choices) - 1
                raise self._refuse(f"{at}: {value!r} is no position of a choice", field="label", mend=f"0 to {most}")
            return str(int(value))
        return self._after(self.file.input or "", value) if self.kind == "text" else value

    def _name(self, label: str, at: str) -> str:
        """The name that the definition gives to a label, if it names labels."""
        if self.file.labels is None:
            return label
        if label not in self.file.labels:
            known = ", ".join(list(self.file.labels)[:SOME])
            raise self._refuse(f"{at}: the label {label!r} has no name", field="labels", mend=f"named are {known}")
        return self.file.labels[label]

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


def is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def share_out(examples: Sequence[Example], shares: Shares, splits: dict[Split, list[Example]], together: bool) -> None:
    """Add the examples to the splits, label by label: each split has the labels in the same shares, and a rare label is
    in train. With `together`, labels of fewer than `LEAST_ROWS` examples are shared out as if they were one."""
    counts = Counter(example.label for example in examples)
    rare = {label for label, count in counts.items() if together and count < LEAST_ROWS}
    by_label: dict[str | None, list[Example]] = defaultdict(list)
    for example in examples:
        by_label[None if example.label in rare else example.label].append(example)
    for group in by_label.values():
        test = round(len(group) * shares.test)
        calibration = test + round(len(group) * shares.calibration)
        splits["test"] += group[:test]
        splits["calibration"] += group[test:calibration]
        splits["train"] += group[calibration : calibration + round(len(group) * shares.train)]
