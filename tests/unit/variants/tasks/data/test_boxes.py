"""Boxes of one's own, as COCO's JSON and as YOLO's text files: what is read, and every wrong entry."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from tests.support.zoo import zoo
from variants.errors import InputError
from variants.metrics.outcome import Outcome
from variants.tasks import Split, Task, Tasks
from variants.tasks.coco96 import Coco96
from variants.tasks.data.boxes_in_image import box_in
from variants.tasks.task_file import TaskFile
from variants.vision.boxes import Box, from_text

BOXES = {"image": "image", "label": "label", "scorer": "boxes"}
SPLITS: tuple[Split, ...] = ("train", "calibration", "test")
SIZE = (40, 30)


def task_of(home: Path, data: dict[str, Any], **fields: Any) -> Task:
    return Tasks({"own": TaskFile.model_validate({"data": data, **BOXES, **fields})}).get("own", home)


def photos(folder: Path) -> None:
    """Twenty images, each of another grey."""
    folder.mkdir(parents=True)
    for number in range(20):
        Image.new("RGB", SIZE, (number * 10, 0, 0)).save(folder / f"{number:02d}.png")


def instances() -> dict[str, Any]:
    """One box an image: cats on the even ones, dogs on the odd ones."""
    images = [{"id": 100 + n, "file_name": f"{n:02d}.png", "width": 40, "height": 30} for n in range(20)]
    boxes = [{"id": n, "image_id": 100 + n, "category_id": 1 + n % 2, "bbox": [n, 5, 10, 20.5]} for n in range(20)]
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "cow"}]
    return {"info": {}, "images": images, "annotations": boxes, "categories": categories}


def coco(folder: Path, document: Any) -> dict[str, Any]:
    photos(folder / "images")
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / "instances.json").write_text(text)
    return {"uri": str(folder / "instances.json"), "format": "coco", "images": str(folder / "images")}


def yolo(folder: Path, **lines: str) -> dict[str, Any]:
    """The boxes of `instances`, with other text for some files; `_00="..."` is for 00.txt."""
    photos(folder / "images")
    (folder / "labels").mkdir()
    for number in range(20):
        share = f"{number % 2} {(number + 5) / 40} {15.25 / 30} {10 / 40} {20.5 / 30}\n"
        (folder / "labels" / f"{number:02d}.txt").write_text(lines.get(f"_{number:02d}", share))
    return {"uri": str(folder / "labels"), "format": "yolo", "images": str(folder / "images")}


def test_both_formats_say_the_same(tmp_path: Path) -> None:
    first = task_of(tmp_path / "home", coco(tmp_path / "a", instances()))
    second = task_of(tmp_path / "home", yolo(tmp_path / "b") | {"classes": ["cat", "dog"]})
    assert (first.kind, first.labels, first.metrics[0].name) == ("boxes", ("cat", "dog"), "mAP50")
    assert [len(first.examples(split)) for split in SPLITS] == [14, 2, 4]
    everything = [[(each.id, each.label) for s in SPLITS for each in task.examples(s)] for task in (first, second)]
    assert everything[0] == everything[1]
    assert dict(everything[0])["own-03.png"] == '[{"label":"dog","box":[3.0,5.0,13.0,25.5]}]'
    right = [Outcome(each.id, each.label, each.label, True) for each in first.examples("test")]
    assert first.metrics[0].measure(right).value == 1
    assert second.sources[1].uri == str(tmp_path / "b" / "images")


def test_classes_by_number_by_file_and_by_name(tmp_path: Path) -> None:
    data = yolo(tmp_path / "a", _04="")
    by_number = task_of(tmp_path / "home", data)
    assert by_number.labels == ("0", "1")
    named = {each.id: from_text(each.label) for s in SPLITS for each in by_number.examples(s)}
    assert named["own-04.png"] == [], "an image without a box"
    assert task_of(tmp_path / "home", data, labels={"0": "Katze", "1": "Hund"}).labels == ("Hund", "Katze")
    (tmp_path / "a" / "labels" / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(InputError, match=r"classes\.txt has no image"):
        task_of(tmp_path / "home", data).examples("test")
    task = task_of(tmp_path / "home", data | {"classes": str(tmp_path / "a" / "labels" / "classes.txt")})
    assert task.labels == ("cat", "dog")
    assert task.definition_sha256 == by_number.definition_sha256, "files are hashed by themselves"


def test_a_file_for_each_split(tmp_path: Path) -> None:
    data = coco(tmp_path, instances())
    document = instances()
    for name, part in (("train", slice(0, 12)), ("test", slice(12, 20))):
        some = {key: document[key][part] for key in ("images", "annotations")}
        (tmp_path / f"{name}.json").write_text(json.dumps(document | some))
    files = {name: str(tmp_path / f"{name}.json") for name in ("train", "test")}
    task = task_of(tmp_path / "home", {key: data[key] for key in ("format", "images")}, splits=files)
    assert [len(task.examples(split)) for split in SPLITS] == [12, 0, 8]


def changed(part: str, **entry: Any) -> dict[str, Any]:
    """`instances` with other values in the fourth entry of a part."""
    document = instances()
    document[part][3] |= entry
    return document


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (json.dumps(instances())[:-40], r"instances.json is no annotation file of COCO: the file: Invalid JSON: EOF"),
        ([], "is no annotation file of COCO"),
        ({"images": []}, "annotations: Field required"),
        (changed("annotations", bbox=[1, 2, 3]), r"annotations\[3\].bbox"),
        (
            changed("annotations", bbox=[35, 0, 10, 10]),
            r"annotations\[3\]: the box \[35, 0, 45, 10\] is outside",
        ),
        (changed("annotations", bbox=[-5, 0, 10, 10]), "40 x 30 pixels"),
        (changed("annotations", bbox=[1, 1, 0, 10]), r"annotations\[3\]: the box \[1, 1, 1, 11\] has no area"),
        (changed("annotations", category_id=9), r"annotations\[3\]: there is no category 9"),
        (changed("annotations", image_id=9), r"annotations\[3\]: there is no image 9"),
        (changed("annotations", iscrowd=1), r"annotations\[3\]: is a crowd"),
        (changed("images", width=80), "has 40 x 30 pixels, not 80 x 30"),
        (changed("images", file_name="gone.png"), r"images\[3\]: gone.png: there is no image"),
        (changed("images", file_name="../instances.json"), "is not below"),
        (changed("images", id=100), "two images have the same id"),
        (instances() | {"categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]}, "two categories"),
        (instances() | {"annotations": []}, "no image of the test has a box"),
        (instances() | {"images": instances()["images"][:3], "annotations": []}, "3 different rows are too few"),
    ],
)
def test_a_wrong_entry_of_coco_is_named(tmp_path: Path, document: Any, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        task_of(tmp_path / "home", coco(tmp_path, document)).examples("test")
    assert refused.value.mend


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0 0.5 0.5 0.2", r"03.txt, line 2: 4 fields, not the five"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.1", "8 fields"),
        ("cat 0.5 0.5 0.2 0.2", "the class 'cat' is no number"),
        ("2 0.5 0.5 0.2 0.2", "there is no class 2: classes are 0 to 1"),
        ("0 0.5 half 0.2 0.2", "line 2: could not convert"),
        ("0 0.95 0.5 0.2 0.2", r"line 2: the box \[34, 12, 42, 18\] is outside of the image"),
        ("0 0.5 0.5 0 0.2", "has no area"),
        ("0 0.5 0.5 nan 0.2", "has no area"),
    ],
)
def test_a_wrong_line_of_yolo_is_named(tmp_path: Path, line: str, says: str) -> None:
    data = yolo(tmp_path, _03=f"1 0.5 0.5 0.2 0.2\n{line}\n") | {"classes": ["cat", "dog"]}
    with pytest.raises(InputError, match=says):
        task_of(tmp_path / "home", data).examples("test")


def test_what_is_rounded_over_the_edge_is_cut(tmp_path: Path) -> None:
    task = task_of(tmp_path / "home", coco(tmp_path, changed("annotations", bbox=[-0.4, 29.5, 40.9, 1])))
    boxes = {each.id: from_text(each.label) for s in SPLITS for each in task.examples(s)}
    assert boxes["own-03.png"] == [Box("dog", 0.0, 29.5, 40.0, 30.0)]


def test_folders_that_do_not_belong_together(tmp_path: Path) -> None:
    data = yolo(tmp_path)
    (tmp_path / "labels" / "more.txt").write_text("")
    with pytest.raises(InputError, match=r"more\.txt has no image"):
        task_of(tmp_path / "home", data).examples("test")
    for folder, says in (("labels", "has no file for any image"), ("images", "has no image")):
        for path in (tmp_path / folder).iterdir():
            path.unlink()
        with pytest.raises(InputError, match=says):
            task_of(tmp_path / "home", data).examples("test")


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"data": {"uri": "./a.json", "format": "coco"}}, "images: name the folder"),
        ({"data": {"uri": "./a/"}}, "belong together"),
        ({"scorer": "label"}, "belong together"),
        ({"image": None, "input": "{{ label }}", "data": {"uri": "./a/", "format": "yolo"}}, "boxes reads images"),
        (
            {"data": {"uri": "./a.json", "format": "coco", "images": "./a/", "classes": ["cat"]}},
            "only with format yolo",
        ),
        ({"splits": {"column": "part"}}, "yolo has no column"),
        ({"splits": {"test": "./b/"}}, "give shares"),
    ],
)
def test_a_definition_that_cannot_be(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        TaskFile.model_validate({"data": {"uri": "./a/", "format": "yolo"}, **BOXES, **fields})


@pytest.mark.zoo
def test_the_same_boxes_as_the_task_that_is_built_in(tmp_path: Path) -> None:
    folder = zoo("detection/coco96/images/000000000285.jpg").parents[1]
    data = {"uri": str(folder / "labels"), "format": "yolo", "images": str(folder / "images")}
    task = task_of(tmp_path, data | {"classes": list(Coco96.labels)}, splits={"train": 0, "calibration": 0, "test": 1})
    built_in = {each.id: from_text(each.label) for split in SPLITS for each in Coco96(tmp_path).examples(split)}
    for each in task.examples("test"):
        theirs = built_in[each.id.replace("own", "coco96").removesuffix(".jpg")]
        for box, other in zip(from_text(each.label), theirs, strict=True):
            assert box[1:5] == pytest.approx(other[1:5], abs=0.006)
            assert box.label == other.label


def test_the_file_of_classes_may_be_named_in_another_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = yolo(tmp_path)
    (tmp_path / "labels" / "classes.txt").write_text("cat\ndog\n")
    monkeypatch.chdir(tmp_path)
    relative = data | {"uri": "./labels", "classes": str(tmp_path / "labels" / "classes.txt")}
    assert task_of(tmp_path / "home", relative).labels == ("cat", "dog")


@pytest.mark.parametrize("box", [(100, 0, 0.5, 10), (10, 10, 0.004, 10), (-0.5, 0, 0.5, 10), (0, 100.5, 10, 0.25)])
def test_a_box_that_is_cut_or_rounded_to_nothing_has_no_area(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="has no area in its image, which has 100 x 100 pixels"):
        box_in("a", *box, (100, 100))
