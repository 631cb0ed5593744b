"""What is probably wrong with rows that can be used."""

import csv
from pathlib import Path

import pytest

from variants.tasks.file_task import FileTask
from variants.tasks.task_file import TaskFile

DEFINITION = {"input": "{{ text }}", "label": "label", "scorer": "label"}


def task_of(folder: Path, rows: list[tuple[str, str]], **fields: object) -> FileTask:
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    given = DEFINITION | {"data": {"uri": str(folder / "rows.csv")}} | fields
    return FileTask("own", TaskFile.model_validate(given), folder / "home")


def rows(count: int) -> list[tuple[str, str]]:
    return [(f"text {at}", ("good", "bad")[at % 2]) for at in range(count)]


def test_good_rows_leave_no_doubt(tmp_path: Path) -> None:
    assert task_of(tmp_path, rows(200)).doubts == ()


def test_labels_that_differ_only_in_case(tmp_path: Path) -> None:
    (doubt,) = task_of(tmp_path, [*rows(200), *((f"more {at}", "Good") for at in range(20))]).doubts
    assert doubt == "labels that differ only in case or blanks count as different ones: 'Good' and 'good'"


def test_one_input_with_two_labels(tmp_path: Path) -> None:
    table = [*rows(200), ("text 4", "bad"), ("text 6", "good")]
    (doubt,) = task_of(tmp_path, table).doubts
    assert doubt.startswith("one input occurs with different labels")
    assert doubt.endswith("rows.csv, row 5")
    assert task_of(tmp_path, table, scorer="f1").doubts == (), "two answers to one question are no contradiction"


@pytest.mark.parametrize(("count", "test"), [(100, 20), (148, 30)])
def test_few_rows_for_the_test(tmp_path: Path, count: int, test: int) -> None:
    task = task_of(tmp_path, rows(count))
    assert len(task.examples("test")) == test
    expected = ("the test has 20 examples, so an accuracy is known within 22 points only: add rows",)
    assert task.doubts == (expected if test < 30 else ())


def test_few_rows_without_classes_say_nothing_of_an_accuracy(tmp_path: Path) -> None:
    expected = "the test has 20 examples, too few for a narrow interval: add rows"
    assert task_of(tmp_path, rows(100), scorer="f1").doubts == (expected,)
