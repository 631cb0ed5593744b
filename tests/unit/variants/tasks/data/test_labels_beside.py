"""Labels in a second file, in the names of images, and images by their path."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from tests.support.zoo import zoo
from variants.errors import InputError
from variants.tasks import Split, Task, Tasks
from variants.tasks.task_file import TaskFile

SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
CHOICE = {"input": "{{ goal }}", "choices": ["sol1", "sol2"], "label": "label", "scorer": "choice"}
PICTURE = {"image": "image", "label": "label", "scorer": "label"}


def task_of(home: Path, data: dict[str, Any], **fields: Any) -> Task:
    return Tasks({"own": TaskFile.model_validate({"data": data, **fields})}).get("own", home)


def goals(folder: Path, labels: str, **more: Any) -> dict[str, Any]:
    rows = [{"goal": f"do {n}", "sol1": f"a {n}", "sol2": f"b {n}", **more} for n in range(20)]
    (folder / "goals.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "labels.lst").write_text(labels)
    return {"uri": str(folder / "goals.jsonl"), "labels": str(folder / "labels.lst")}


def test_a_line_is_the_label_of_a_row(tmp_path: Path) -> None:
    task = task_of(tmp_path / "home", goals(tmp_path, "0\n1\n" * 10), **CHOICE)
    told = {
        str(each.input[0]): each.label for s in SPLITS for each in task.examples(s) if isinstance(each.input, tuple)
    }
    assert told == {f"do {n}": str(n % 2) for n in range(20)}
    other = task_of(tmp_path / "home", goals(tmp_path, "1\n0\n" * 10), **CHOICE)
    assert other.test_sha256 != task.test_sha256
    assert [source.uri for source in task.sources] == [str(tmp_path / "goals.jsonl"), str(tmp_path / "labels.lst")]


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("0\n1\n" * 9, "labels.lst has 18 labels, and .*goals.jsonl has 20 rows"),
        ("0\n1\n" * 10 + "1", "has 21 labels, and .*has 20 rows"),
        ("", "has 0 labels"),
        ("0\n\n" * 10, "row 2: the column 'label' is empty"),
        ("0\n7\n" * 10, "row 2: '7' is no position of a choice"),
    ],
)
def test_lines_that_do_not_fit(tmp_path: Path, labels: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        task_of(tmp_path / "home", goals(tmp_path, labels), **CHOICE).examples("test")


def test_a_second_column_of_that_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a column 'label' of its own"):
        task_of(tmp_path / "home", goals(tmp_path, "0\n1\n" * 10, label=0), **CHOICE).examples("test")


def photos(folder: Path) -> None:
    folder.mkdir()
    for number in range(20):
        Image.new("RGB", (8, 8), (number * 10, 0, 0)).save(folder / f"{number % 2:04d}_n{number:08d}_a_thing.png")


def test_the_name_of_a_file_has_its_label(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    (tmp_path / "photos" / "README.md").write_text("no image")
    data = {"uri": str(tmp_path / "photos"), "name_pattern": r"(?P<label>\d+)_(?P<wnid>n\d+)_.*"}
    task = task_of(tmp_path / "home", data, **PICTURE, labels={"0000": "tench", "0001": "shark"})
    assert (task.kind, task.labels) == ("image", ("shark", "tench"))
    by_id = {each.id: each.label for s in SPLITS for each in task.examples(s)}
    assert by_id["own-0001_n00000003_a_thing.png"] == "shark"
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "other.png")
    with pytest.raises(InputError, match=r"other\.png: its name does not match"):
        task_of(tmp_path / "home", data, **PICTURE).examples("test")


def test_a_pattern_has_a_time_limit(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / f"{'a' * 60}b.png")
    data = {"uri": str(tmp_path / "photos"), "name_pattern": r"(?P<label>(a|aa)+)\.png"}
    with pytest.raises(InputError, match="longer than"):
        task_of(tmp_path / "home", data, **PICTURE).examples("test")


def test_a_table_names_its_images(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    names = sorted(path.name for path in (tmp_path / "photos").iterdir())
    table = tmp_path / "table.csv"
    table.write_text("image,label\n" + "".join(f"photos/{name},{name[3]}\n" for name in names))
    data = {"uri": str(table), "images": str(tmp_path)}
    task = task_of(tmp_path / "home", data, **PICTURE)
    assert task.labels == ("0", "1")
    assert sum(len(task.examples(split)) for split in SPLITS) == 20
    with pytest.raises(InputError, match=r"row 1: 'photos/.*' is the path of an image"):
        task_of(tmp_path / "home", {"uri": str(table)}, **PICTURE).examples("test")
    table.write_text(table.read_text() + "photos/gone.png,1\n")
    with pytest.raises(InputError, match=r"table\.csv, row 21: there is no image"):
        task_of(tmp_path / "home", data, **PICTURE).examples("test")
    table.write_text("image,label\n" + "../x.png,1\n" * 20)
    with pytest.raises(InputError, match=r"row 1: '\.\./x\.png' is not below"):
        task_of(tmp_path / "home", data, **PICTURE).examples("test")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"uri": "./a/", "name_pattern": "("}, "is not a regular expression"),
        ({"uri": "./a/", "name_pattern": r"\d+"}, "names no group"),
        ({"uri": "./a/", "name_pattern": "(?P<image>.*)"}, "has the name of another column"),
        ({"uri": "./a.csv", "format": "csv", "name_pattern": "(?P<label>.*)"}, "only with a folder of images"),
        ({"uri": "./a/", "format": "images", "labels": "./b"}, "not beside images"),
        ({"uri": "./a/", "labels": "some/thing"}, "is a hub id"),
    ],
)
def test_a_definition_that_cannot_be(data: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskFile.model_validate({"data": data, **PICTURE})


@pytest.mark.zoo
def test_piqa_and_imagenet_as_they_are_published(tmp_path: Path) -> None:
    only_test = {"splits": {"train": 0, "calibration": 0, "test": 1}}
    rows, labels = zoo("lm/piqa_valid_1000.jsonl"), zoo("lm/piqa_valid_1000_labels.lst")
    piqa = task_of(tmp_path, {"uri": str(rows), "labels": str(labels)}, **CHOICE, **only_test)
    assert len(piqa.examples("test")) == 1000
    folder = zoo("imagenet500/0000_n01440764_tench.jpg").parent
    data = {"uri": str(folder), "name_pattern": r"(?P<label>\d+)_.*"}
    assert len(task_of(tmp_path, data, **PICTURE, **only_test).labels) == 500
