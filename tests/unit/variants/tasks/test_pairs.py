"""Pairs of texts with a score, as a task of one's own: what is read, and every wrong input."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.zoo import zoo
from variants.errors import InputError
from variants.metrics.outcome import Outcome
from variants.tasks import Split, Task, Tasks
from variants.tasks.task_file import TaskFile

PAIRS = {"pair": ["one", "other"], "label": "score", "scorer": "spearman"}
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
ROWS = [(f"a man walks {number}", f"a dog runs {number}", f"{number * 0.1:.3f}") for number in range(50)]


def task_of(home: Path, rows: list[tuple[str, ...]], header: str = "one\tother\tscore", **fields: Any) -> Task:
    home.mkdir(exist_ok=True)
    path = home / "pairs.tsv"
    path.write_text("\n".join([header, *("\t".join(row) for row in rows)]) + "\n")
    return Tasks({"own": TaskFile.model_validate({"data": {"uri": str(path)}, **PAIRS, **fields})}).get("own", home)


def test_a_row_is_two_texts_and_a_score(tmp_path: Path) -> None:
    task = task_of(tmp_path, list(ROWS))
    assert (task.kind, task.labels, task.metrics[0].name) == ("pair", (), "spearman")
    assert [len(task.examples(split)) for split in SPLITS] == [35, 5, 10], "no score comes twice: shared out as one"
    asked = {(each.input, each.label) for split in SPLITS for each in task.examples(split)}
    assert asked == {((one, other), score) for one, other, score in ROWS}


def test_the_metric_orders_cosines(tmp_path: Path) -> None:
    metric = task_of(tmp_path, list(ROWS)).metrics[0]
    theirs = [Outcome(score, score, str(float(score) / 10), False) for _, _, score in ROWS]
    ours = [Outcome(each.example_id, each.label, str(-float(each.answer)), False) for each in theirs]
    assert metric.measure(theirs).value == pytest.approx(1)
    assert metric.difference(ours, theirs).value == pytest.approx(-2)
    assert metric.agrees("0.5", "0.5") is None
    assert not metric.right("pair", "0.5", "0.5")


def test_two_equal_rows_are_one_pair(tmp_path: Path) -> None:
    task = task_of(tmp_path, [*ROWS, ROWS[0]])
    assert sum(len(task.examples(split)) for split in SPLITS) == len(ROWS)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([*ROWS, ("a", "b", "high")], "pairs.tsv, row 51: the score 'high' is no number"),
        ([*ROWS, ("a", "b", "nan")], "row 51: the score 'nan' is no number"),
        ([*ROWS, ("a", "", "1")], "row 51: the column 'other' is empty"),
        ([(one, other, "2.0") for one, other, _ in ROWS], "all 10 scores of the test are equal"),
        (ROWS[:3], "3 different rows are too few"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[tuple[str, ...]], says: str) -> None:
    with pytest.raises(InputError, match="own") as refused:
        task_of(tmp_path, rows).examples("test")
    assert says in str(refused.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no column 'other'") as refused:
        task_of(tmp_path, list(ROWS), "one\tsecond\tscore").examples("test")
    assert (refused.value.field, refused.value.mend) == ("tasks.own.pair", "its columns are one, second, score")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"scorer": "exact"}, "pair and scorer spearman belong together"),
        ({"pair": None, "input": "{{ one }}"}, "pair and scorer spearman belong together"),
        ({"input": "{{ one }}"}, "give either `input`"),
        ({"pair": ["one"]}, "pair"),
        ({"label": None}, "name its column"),
        ({"labels": {"0": "low"}}, "is a number and has no name"),
        ({"max_tokens": 5}, "only with a scorer of generated answers"),
    ],
)
def test_a_definition_that_cannot_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskFile.model_validate({"data": {"uri": "./a.csv"}, **PAIRS, **fields})


@pytest.mark.zoo
def test_sts_b_as_it_is_published(tmp_path: Path) -> None:
    columns = ["genre", "file", "year", "number", "score", "one", "other", "source", "url"]
    data = {"uri": str(zoo("text/sts_test.csv")), "format": "tsv", "columns": columns}
    definition = TaskFile.model_validate({"data": data, **PAIRS, "splits": {"train": 0, "calibration": 0, "test": 1}})
    task = Tasks({"sts": definition}).get("sts", tmp_path)
    assert len(task.examples("test")) == 1378, "1,379 lines, of which one pair is there twice"
