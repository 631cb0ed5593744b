"""The task that a user's data is: which column is the input, which the label, and how answers are scored."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from serve.init.guesses import (
    LABELS,
    SCORE_NAMES,
    are_classes,
    endings,
    guess_label,
    guess_text,
    mean_length,
    scorer_of,
    split_column_of,
    tokens_of,
)
from serve.init.model import ModelFacts
from serve.init.table import Table
from variants.document import explain
from variants.errors import InputError
from variants.progress import Progress
from variants.tasks import Split
from variants.tasks.data.definition import BOXES
from variants.tasks.file_task import FileTask, is_number
from variants.tasks.task_file import TaskFile

TEST, CALIBRATION, TRAIN = 400, 200, 2000
"""The most examples of each split: 400 place an accuracy within 5 points, at 95 %."""


@dataclass(frozen=True)
class Columns:
    """What the user says about the columns; None for what is to be guessed."""

    text: tuple[str, ...] | None = None
    label: str | None = None
    choices: tuple[str, ...] | None = None
    pair: tuple[str, str] | None = None
    scorer: str | None = None
    input: str | None = None


@dataclass(frozen=True)
class TaskDraft:
    """A definition as it stands in a stack file, and a sentence for each guess, by the field that it is about. `labels`
    are the label column's values, where it is a column of a few. `counts` has the examples of each split once the data
    was read. `tokens` holds nine of ten texts. `doubts` say what is probably wrong with the data."""

    name: str
    definition: dict[str, Any]
    reasons: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    counts: Mapping[Split, int] = field(default_factory=dict)
    tokens: int = 128
    split_column: str | None = None
    doubts: tuple[str, ...] = ()

    @property
    def scorer(self) -> str:
        return str(self.definition["scorer"])

    @property
    def is_asked(self) -> bool:
        """Whether a campaign asks for its answers: not where likelihoods of whole texts count."""
        return self.scorer != "passage" and "choices" not in self.definition

    @property
    def sends_labels(self) -> bool:
        """Whether a live request can carry its label, so that both answers are scored. The score of one pair is no
        label."""
        return self.is_asked and self.scorer != "spearman"


def draft(name: str, table: Table, columns: Columns, model: ModelFacts) -> TaskDraft:
    """The task of a table for a model. Raises InputError that names the flag to give where the columns do not say."""
    check_named(table, columns)
    check_task(table, model)
    if table.format in BOXES:
        return TaskDraft(name, {"image": "image", "label": "label", "scorer": "boxes"})
    if table.format == "images" or "image" in table.columns:
        return of_images(name, table, columns, model)
    if columns.pair or model.task == "feature-extraction":
        return of_pairs(name, table, columns)
    reasons: dict[str, str] = {}
    choices = columns.choices or (endings(table) if model.task == "text-generation" else ())
    label = columns.label or guess_label(table, reasons)
    text = text_of(table, columns, [*choices, *([label] if label else [])], reasons)
    check_texts(table, [*choices, *([label] if label else []), *(() if columns.input else text)])
    if label is None:
        return passages(name, table, text, model)
    labels = tuple(sorted(table.kinds(label)))
    definition: dict[str, Any] = {
        "input": columns.input or template_of(text),
        "label": label,
    }
    if choices:
        definition |= {"choices": list(choices), "scorer": "choice"}
        reasons["choices"] = f"{label} is the position of the right one of {', '.join(choices)}"
    elif model.task == "text-generation":
        definition["scorer"] = columns.scorer or scorer_of(table, label, labels, reasons)
        if columns.input is None:
            definition["input"] += f"\n{label.replace('_', ' ').capitalize()}:"
            reasons["input"] = "the text, and the name of what is asked for"
            if definition["scorer"] == "choice" and all(each[:1].isdecimal() for each in labels):
                definition["input"] += " "  # many tokenizers give a blank before a digit a token of its own
    else:
        check_classes(table, label, model)
        definition["scorer"] = columns.scorer or "label"
    return TaskDraft(
        name, definition, reasons, labels, tokens=tokens_of(table, text), split_column=split_column_of(table)
    )


def template_of(columns: Sequence[str]) -> str:
    """A Jinja template of the columns, with blanks between."""
    return " ".join(f"{{{{ {each} }}}}" for each in columns)


def text_of(table: Table, columns: Columns, taken: Sequence[str], reasons: dict[str, str]) -> tuple[str, ...]:
    """The columns of the input: those that are named, or guessed."""
    if columns.text:
        return columns.text
    if columns.input:
        named = tuple(each for each in table.columns if re.search(rf"\b{re.escape(each)}\b", columns.input))
        return named or tuple(table.columns)
    return guess_text(table, taken, reasons)


def check_texts(table: Table, columns: Sequence[str]) -> None:
    """InputError for a column of lists or mappings: they would be written as Python writes them."""
    if odd := next((each for each in columns if each in table.objects), None):
        mend = f"write the texts into columns of their own, or name a part: --input '{{{{ {odd}.text }}}}'"
        raise InputError(f"{table.path}: the column {odd!r} has lists or mappings, not text", field="--text", mend=mend)


def check_classes(table: Table, label: str, model: ModelFacts) -> None:
    """InputError for a column that names no classes: one value, or most of its values stand there once and the model
    does not know them."""
    kinds = table.kinds(label)
    if len(kinds) == 1:
        message = f"{table.path}: every row has the label {next(iter(kinds))!r}, so there is nothing to tell apart"
        raise InputError(message, field="--label", mend="give rows of another label, or name another column")
    if not kinds or (2 * len(kinds) > table.count and not knows(model, kinds)):
        many = f"{len(kinds):,}" if kinds else "too many"
        message = (
            f"{table.path}: the column {label!r} has {many} values in {table.count:,} rows, so it names no classes"
        )
        raise InputError(message, field="--label", mend="name another column")


def knows(model: ModelFacts, labels: Collection[str]) -> bool:
    """Whether a classifier has these labels, by name or by position."""
    return set(labels) <= set(model.labels) or are_positions(labels, model.labels)


def are_positions(labels: Collection[str], of: Sequence[str]) -> bool:
    return all(each.isdecimal() and int(each) < len(of) for each in labels)


def check_named(table: Table, columns: Columns) -> None:
    named = {
        "--text": columns.text or (), "--label": (columns.label,) if columns.label else (),
        "--choices": columns.choices or (), "--pair": columns.pair or (),
    }  # fmt: skip
    for flag, names in named.items():
        for each in names:
            if each not in table.columns:
                shown = ", ".join(table.columns)
                raise InputError(f"{table.path} has no column {each!r}", field=flag, mend=f"its columns are {shown}")


def check_task(table: Table, model: ModelFacts) -> None:
    """InputError where the data are not of what the model reads."""
    form = "boxes" if table.format in BOXES else "images" if "image" in table.columns else "texts"
    wanted = {"object-detection": "boxes", "image-classification": "images"}.get(model.task, "texts")
    if form != wanted:
        mend = {
            "boxes": "--format yolo or coco, and --images FOLDER",
            "images": "a folder of images, one folder a label, or --images FOLDER beside a table",
            "texts": "a table of texts",
        }[wanted]
        raise InputError(
            f"{table.path} has {form}, and a model of {model.task} reads {wanted}", field="--data", mend=mend
        )


def of_images(name: str, table: Table, columns: Columns, model: ModelFacts) -> TaskDraft:
    """Images with one label each."""
    reasons: dict[str, str] = {}
    label = columns.label or ("label" if "label" in table.columns else guess_label(table, reasons))
    if label is None:
        raise InputError(f"{table.path}: no column looks like a label", field="--label")
    definition = {"image": "image", "label": label, "scorer": "label"}
    reasons["scorer"] = "the right one is the classifier's first"
    check_classes(table, label, model)
    return TaskDraft(name, definition, reasons, tuple(sorted(table.kinds(label))))


def of_pairs(name: str, table: Table, columns: Columns) -> TaskDraft:
    """Two texts and how alike they are."""
    score = columns.label or next((each for each in table.columns if each.lower() in SCORE_NAMES), None)
    score = score or next((each for each in table.columns if each.lower() in LABELS), None)
    numbers = [each for each in table.columns if all(is_number(value) for value in table.values(each))]
    if score is None and len(numbers) == 1:
        score = numbers[0]
    pair = columns.pair
    if pair is None:
        texts = [
            each for each in table.columns if each != score and each not in numbers and mean_length(table, each) > 15
        ]
        pair = (texts[0], texts[1]) if len(texts) == 2 else None
    shown = ", ".join(table.columns)
    mend = f"for labelled texts --family text-classification; for pairs --pair A,B and --label SCORE, of {shown}"
    if score is None or pair is None:
        raise InputError(f"{table.path}: an embedder is tested on two texts and their score", field="--pair", mend=mend)
    if columns.pair is None and are_classes(table, score):
        values = f"{table.path}: the column {score!r} has {len(table.kinds(score))} whole numbers, as classes have"
        raise InputError(f"{values}, and an embedder is tested on scores of pairs", field="--family", mend=mend)
    reasons = {"pair": "the two columns of texts", "label": "the column of numbers: how alike both texts are"}
    return TaskDraft(name, {"pair": list(pair), "label": score, "scorer": "spearman"}, reasons)


def passages(name: str, table: Table, text: Sequence[str], model: ModelFacts) -> TaskDraft:
    """Text without labels: how surprising it is."""
    if model.task != "text-generation":
        shown = ", ".join(table.columns)
        raise InputError(
            f"{table.path}: no column looks like a label", field="--label", mend=f"name it with --label: {shown}"
        )
    definition = {"input": template_of(text), "scorer": "passage"}
    return TaskDraft(name, definition, {"scorer": "there is no label, so perplexity counts"})


def read(draft: TaskDraft, data: Mapping[str, Any], count: int, trains: bool, progress: Progress) -> TaskDraft:
    """The draft with its data and splits, after all its rows were read. Raises InputError for a wrong row."""
    splits_said = {"column": draft.split_column} if draft.split_column else shares(count, trains)
    whole = draft.definition | {"data": dict(data), "splits": splits_said}
    try:
        file = TaskFile.model_validate(whole)
    except ValidationError as error:
        fault = explain(error)
        raise InputError(fault.message, field=f"tasks.{draft.name}.{fault.field}") from None
    task = FileTask(draft.name, file, progress=progress)
    splits: tuple[Split, ...] = ("train", "calibration", "test")
    counts = {split: len(task.examples(split)) for split in splits}
    if trains and not counts["train"]:
        raise InputError(
            f"{draft.name}: no row is left to train a head on", field="--data", mend="give more rows a label"
        )
    labels = draft.labels or task.labels
    return replace(draft, definition=whole, counts=counts, labels=labels, doubts=task.doubts)


def shares(count: int, trains: bool) -> dict[str, float]:
    """The share of each split in `count` rows: no more for the test than figures need, and some for training only
    where a variant trains."""
    test, calibration = min(0.2 if trains else 0.6, TEST / count), min(0.1 if trains else 0.3, CALIBRATION / count)
    train = min(0.7, TRAIN / count) if trains else 0.0
    return {"train": round(train, 6), "calibration": round(calibration, 6), "test": round(test, 6)}


def numbered(draft: TaskDraft, labels: Sequence[str]) -> TaskDraft:
    """The draft with the model's own labels, where the data has their positions, from 0."""
    if not labels or not draft.labels or set(draft.labels) <= set(labels) or not are_positions(draft.labels, labels):
        return draft
    names = {each: labels[int(each)] for each in draft.labels}
    reasons = {**draft.reasons, "labels": "the data has the positions of the model's labels"}
    return replace(
        draft, definition=draft.definition | {"labels": names}, reasons=reasons, labels=tuple(names.values())
    )
