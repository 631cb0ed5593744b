"""Tasks of one's own: every format, and every wrong input with the place that is wrong."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from variants.errors import InputError
from variants.metrics.outcome import Outcome
from variants.tasks import FileTask, Split, Task, Tasks, check_names
from variants.tasks.task_file import TaskFile

INTENTS = [(f"call number {number}", ("call", "text", "wait")[number % 3]) for number in range(60)]
LIKELIHOOD = {"input": "Message: {{ text }}\nIntent:", "label": "intent", "scorer": "choice"}
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")


def csv_file(path: Path, rows: list[tuple[str, str]], header: str = "text,intent\n") -> Path:
    path.write_text(header + "".join(f'"{text}",{label}\n' for text, label in rows))
    return path


def task_of(home: Path, data: Path | dict[str, Any], **fields: Any) -> Task:
    given = data if isinstance(data, dict) else {"uri": str(data)}
    return Tasks({"own": TaskFile.model_validate({"data": given, **LIKELIHOOD, **fields})}).get("own", home)


def refusal(home: Path, data: Path | dict[str, Any], **fields: Any) -> InputError:
    with pytest.raises(InputError) as refused:
        task_of(home, data, **fields).examples("test")
    assert str(refused.value.field).startswith("tasks.own.") or refused.value.field == "data"
    return refused.value


def write_tsv(folder: Path) -> Path:
    return csv_file(folder / "a.tsv", [], "text\tintent\n" + "".join(f"{text}\t{label}\n" for text, label in INTENTS))


def write_jsonl(folder: Path) -> Path:
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"text": text, "intent": label}) + "\n" for text, label in INTENTS))
    return path


def write_parquet(folder: Path) -> Path:
    import pyarrow
    from pyarrow import parquet

    table = pyarrow.table({"text": [text for text, _ in INTENTS], "intent": [label for _, label in INTENTS]})
    parquet.write_table(table, folder / "a.parquet")
    return folder / "a.parquet"


FORMATS: list[Callable[[Path], Path]] = [
    lambda folder: csv_file(folder / "a.csv", INTENTS), write_tsv, write_jsonl, write_parquet,
]  # fmt: skip


@pytest.mark.parametrize("write", FORMATS, ids=["csv", "tsv", "jsonl", "parquet"])
def test_the_same_rows_in_every_format_are_the_same_examples(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    task = task_of(tmp_path / "home", write(tmp_path))
    assert (task.kind, task.labels) == ("text", (" call", " text", " wait"))
    examples = {split: task.examples(split) for split in SPLITS}
    assert [len(examples[split]) for split in SPLITS] == [42, 6, 12]
    asked = {(str(each.input), each.label) for split in SPLITS for each in examples[split]}
    assert asked == {(f"Message: {text}\nIntent:", f" {label}") for text, label in INTENTS}
    again = task_of(tmp_path / "home", write(tmp_path))
    assert again.test_sha256 == task.test_sha256
    inputs = [{each.input for each in examples[split]} for split in SPLITS]
    assert not inputs[2] & (inputs[0] | inputs[1])


def test_values_of_a_table_are_text_as_it_stands(tmp_path: Path) -> None:
    rows = [(f"{number:03d}", ("NA", "007", "null")[number % 3]) for number in range(30)]
    task = task_of(tmp_path / "home", csv_file(tmp_path / "a.csv", rows), input="{{ text }}: ")
    assert task.labels == ("007", "NA", "null")
    assert {len(str(each.input)) for each in task.examples("test")} == {5}


def test_a_table_without_a_header_and_with_names_for_its_labels(tmp_path: Path) -> None:
    rows = [(text, str(number % 2)) for number, (text, _) in enumerate(INTENTS)]
    data = {"uri": str(csv_file(tmp_path / "a.csv", rows, "")), "columns": ["text", "intent"]}
    task = task_of(tmp_path / "home", data, labels={"0": "bad", "1": "good"}, scorer="label", input="{{ text }}")
    assert (task.kind, task.labels) == ("article", ("bad", "good"))
    assert sum(len(task.examples(split)) for split in SPLITS) == 60


def test_choices_are_columns_and_the_label_their_position(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = [{"goal": f"do {n}", "sol1": f"a {n}", "sol2": f"b {n}", "label": n % 2} for n in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = task_of(tmp_path / "home", path, input="{{ goal }}", choices=["sol1", "sol2"], label="label")
    assert (task.kind, task.labels) == ("choice", ("0", "1"))
    example = task.examples("test", 1)[0]
    assert isinstance(example.input, tuple)
    assert example.input[1].startswith(" a")
    assert example.input[0].removeprefix("do ") == example.input[2].removeprefix(" b ")


@pytest.mark.parametrize(("scorer", "metric"), [("exact", "accuracy"), ("number", "accuracy"), ("rouge-l", "rouge-l")])
def test_generated_answers_have_their_own_scorer(tmp_path: Path, scorer: str, metric: str) -> None:
    path = csv_file(tmp_path / "a.csv", INTENTS)
    task = task_of(tmp_path / "home", path, scorer=scorer, max_tokens=5, stop=["\n"])
    assert (task.kind, task.labels, task.metrics[0].name) == (scorer, (), metric)
    assert dict(task.fields) == {"max_tokens": 5, "stop": ["\n"]}
    assert {example.label for example in task.examples("test")} == {"call", "text", "wait"}
    answers = [Outcome(str(n), "a b", answer, answer == "a b") for n, answer in enumerate(["a b", "c d"] * 20)]
    assert task.metrics[0].measure(answers).value == pytest.approx(0.5)
    assert task_of(tmp_path / "home", path, scorer=scorer).fields["max_tokens"] == 64


def test_outcomes_of_another_scorer_are_those_of_another_test(tmp_path: Path) -> None:
    """Answers are kept by the test's hash: `exact` and `contains` score the same answers otherwise."""
    data = csv_file(tmp_path / "rows.csv", INTENTS)
    fields: list[dict[str, Any]] = [{"scorer": "exact"}, {"scorer": "contains"}, {"scorer": "exact", "max_tokens": 3}]
    assert len({task_of(tmp_path, data, **each).test_sha256 for each in fields}) == len(fields)


def test_lines_of_text_are_passages(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"This is line {number}.\n" for number in range(20)))
    task = task_of(tmp_path / "home", path, input="{{ text }}", scorer="passage", label=None)
    assert (task.kind, task.labels, task.metrics[0].name) == ("passage", (), "perplexity")
    assert len(task.examples("test")) == 4


def test_folders_of_images_are_labels(tmp_path: Path) -> None:
    images(tmp_path / "photos")
    task = task_of(tmp_path / "home", tmp_path / "photos", input=None, image="image", label="label", scorer="label")
    assert (task.kind, task.labels) == ("image", ("cat", "dog"))
    example = task.examples("test", 1)[0]
    assert isinstance(example.input, bytes)
    assert Image.open(io.BytesIO(example.input)).size == (8, 8)


def images(folder: Path) -> None:
    for number in range(20):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(path)


def test_folders_of_splits_are_no_labels(tmp_path: Path) -> None:
    """The library would read `train` alone, and leave `val` out without a word."""
    for part in ("train", "val"):
        images(tmp_path / "photos" / part)
    picture = {"input": None, "image": "image", "label": "label", "scorer": "label"}
    error = refusal(tmp_path / "home", tmp_path / "photos", **picture)
    assert "has the folders train, val, which are splits and no labels" in str(error)
    images(tmp_path / "photos" / "bus")
    assert task_of(tmp_path / "home", tmp_path / "photos", **picture).labels == ("cat", "dog")


def test_blank_lines_between_passages_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("".join(f"a line {number}\n\n \n" for number in range(20)))
    task = task_of(tmp_path / "home", path, input="{{ text }}", label=None, scorer="passage")
    assert sum(len(task.examples(split)) for split in SPLITS) == 20


def test_splits_of_a_column_and_of_files(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    kinds = ("train", "train", "test", "dev")
    rows = [{"text": text, "intent": label, "part": kinds[n // 3 % 4]} for n, (text, label) in enumerate(INTENTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_column = task_of(tmp_path / "home", path, splits={"column": "part"})
    assert [len(by_column.examples(split)) for split in SPLITS] == [30, 15, 15]
    for name, part in (("train", INTENTS[:45]), ("test", INTENTS[40:])):
        csv_file(tmp_path / f"{name}.csv", part)
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "test")}
    by_file = task_of(tmp_path / "home", {}, splits=files)
    assert [len(by_file.examples(split)) for split in SPLITS] == [40, 0, 20]  # what both files have is the test's


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (INTENTS[:3], "3 different rows are too few"),
        (INTENTS[:1] * 30, "1 different rows are too few"),
        ([*INTENTS, ("", "call")], "row 61: the input is empty"),
        ([*INTENTS, ("a", "")], "row 61: the column 'intent' is empty"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[tuple[str, str]], says: str) -> None:
    assert says in str(refusal(tmp_path / "home", csv_file(tmp_path / "a.csv", rows)))


def test_a_table_of_a_header_alone_has_no_rows(tmp_path: Path) -> None:
    assert "a.csv has no rows" in str(refusal(tmp_path / "home", csv_file(tmp_path / "a.csv", [])))


def test_a_label_that_training_never_sees(tmp_path: Path) -> None:
    files = {
        "train": csv_file(tmp_path / "a.csv", INTENTS),
        "test": csv_file(tmp_path / "b.csv", [("a", "new"), ("b", "call")]),
    }
    error = refusal(tmp_path / "home", {}, splits={name: str(path) for name, path in files.items()})
    assert "'new' of own-b.csv, row 1 in test is never seen in training" in str(error)


def test_a_column_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", INTENTS)
    for fields, field in (
        ({"label": "kind"}, "label"),
        ({"input": "{{ body }}"}, "input"),
        ({"splits": {"column": "part"}}, "splits.column"),
    ):
        error = refusal(tmp_path / "home", path, **fields)
        assert (error.field, error.mend) == (f"tasks.own.{field}", "its columns are text, intent")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.pkl", b"\x80\x04."),
        ("a.csv", b"\xff\xfe\x00"),
        ("a.csv", b""),
        ("a.jsonl", b"{"),
        ("a.parquet", b"PAR1"),
        ("photos/cat/a.png", b"no image"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str, data: bytes) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    picture = {"input": None, "image": "image", "label": "label", "scorer": "label"}
    folder = tmp_path / name.partition("/")[0]
    error = refusal(tmp_path / "home", folder, **(picture if folder.is_dir() else {}))
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"input": "{{ text"}, "not a Jinja template"),
        ({"input": "no column"}, "names no column"),
        ({"scorer": "f2"}, "scorer"),
        ({"scorer": "passage"}, "a passage has none"),
        ({"scorer": "ranked"}, "ranked reads images"),
        ({"max_tokens": 5}, "only with a scorer of generated answers"),
        ({"image": "picture"}, "either `input`"),
        ({"label": None}, "name its column"),
        ({"splits": {"train": 0.9, "test": 0.2}}, "above 1"),
        ({"splits": {"test": 0}}, "test: 0"),
        ({"data": {}}, "data.uri"),
        ({"data": {"uri": "a b"}}, "names no source"),
        ({"data": {"uri": "intents/data.csv"}}, "is a hub id of a model"),
        ({"data": {"uri": "hf:datasets/org/name", "format": "csv"}}, "says its own format"),
        ({"data": {"uri": "./a.csv", "config": "plain"}}, "only with a data set of the hub"),
        ({"data": {"uri": "./a.csv", "images": "./photos/"}}, "only with `image`"),
    ],
)
def test_a_definition_that_cannot_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TaskFile.model_validate({"data": {"uri": "./a.csv"}, **LIKELIHOOD, **fields})
    assert says in str(refused.value)


def test_a_template_has_no_way_out_of_its_sandbox(tmp_path: Path) -> None:
    path = csv_file(tmp_path / "a.csv", INTENTS)
    error = refusal(tmp_path / "home", path, input="{{ text.__class__.__mro__ }}")
    assert "row 1" in str(error)


def test_a_name_of_a_built_in_task_is_taken() -> None:
    with pytest.raises(ValueError, match="mnist"):
        check_names({"mnist": TaskFile.model_validate({"data": {"uri": "./a.csv"}, **LIKELIHOOD})})
    assert isinstance(Tasks().get("mnist"), Task)
    assert not isinstance(Tasks().get("mnist"), FileTask)


@pytest.mark.parametrize(
    ("definition", "sha256"),
    [
        ({"data": {"uri": "./a.csv"}, **LIKELIHOOD}, "48291b04da2aa0e8"),
        ({"data": {"uri": "./photos/"}, "image": "image", "label": "label", "scorer": "ranked"}, "a183f9fe5687bb64"),
    ],
)
def test_the_hash_of_a_definition_stays(tmp_path: Path, definition: dict[str, Any], sha256: str) -> None:
    """A new field is left out where it is absent: builds that such a task calibrated keep their keys."""
    task = Tasks({"own": TaskFile.model_validate(definition)}).get("own", tmp_path)
    assert str(task.definition_sha256).startswith(sha256)


def test_labels_that_occur_once_are_shared_out_too(tmp_path: Path) -> None:
    rows = [(f"what is {number} squared", str(number**2)) for number in range(50)]
    task = task_of(tmp_path / "home", csv_file(tmp_path / "a.csv", rows), scorer="number")
    assert [len(task.examples(split)) for split in SPLITS] == [35, 5, 10]
    shares = {"train": 0, "calibration": 0.3, "test": 0.7}  # 0.7 of one row is one row
    task = task_of(tmp_path / "home", tmp_path / "a.csv", scorer="number", splits=shares)
    assert [len(task.examples(split)) for split in SPLITS] == [0, 15, 35]


@pytest.mark.parametrize("write", [write_jsonl, write_parquet], ids=["jsonl", "parquet"])
def test_columns_are_refused_beside_a_file_that_names_its_own(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    data = {"uri": str(write(tmp_path)), "columns": ["text", "intent"]}
    with pytest.raises(
        InputError, match=r"data\.columns: .* of a CSV or TSV file without a header, and this is read as"
    ):
        task_of(tmp_path, data).examples("test")
    with pytest.raises(ValidationError, match="columns: only with a CSV or TSV file without a header, not text"):
        TaskFile.model_validate({"data": data | {"format": "text"}, "input": "{{ text }}", "scorer": "passage"})
