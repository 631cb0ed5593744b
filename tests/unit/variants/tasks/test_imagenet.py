"""A folder of the user's photographs as a task: its names are checked, its splits never change."""

from pathlib import Path

import pytest

from tests.support.recipes import parse_recipe
from variants import tasks
from variants.build.builder import VariantPlan, data_sources
from variants.errors import InputError
from variants.recipes.source import Source
from variants.tasks.imagenet import LABELS, SETTING

NAMES = ("0000_n01440764_tench.jpg", "0001_n01443537_goldfish.JPEG", "0002_n01484850_great_white_shark.jpg")
INT8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "imagenet", "examples": 1}}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(SETTING, str(tmp_path))
    for name in NAMES:
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def plan() -> VariantPlan:
    source = Source(uri="./weights.pth", licence="MIT")
    return VariantPlan("photos", "int8", "image-classification", source, parse_recipe(INT8), "baseline")


def test_there_are_a_thousand_classes_in_the_order_of_their_ids() -> None:
    ids = [label.split()[0] for label in LABELS]
    assert len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert all(len(label.split()) >= 2 for label in LABELS)
    assert (LABELS[0], LABELS[999]) == ("n01440764 tench", "n15075141 toilet tissue")
    assert [label for label in LABELS if label.endswith(" crane")] == ["n02012849 crane", "n03126707 crane"]


def test_every_twentieth_class_calibrates_and_the_others_test(folder: Path) -> None:
    splits = {split: tasks.get("imagenet").examples(split) for split in ("test", "calibration", "train")}
    assert {example.label for example in splits["test"]} == {"n01443537 goldfish", "n01484850 great white shark"}
    assert [(example.id, example.label, example.input) for example in splits["calibration"]] == [
        ("imagenet-0000_n01440764_tench", "n01440764 tench", NAMES[0].encode())
    ]
    assert splits["train"] == []
    assert tasks.get("imagenet_top5").examples("test") == splits["test"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tench.jpg", "not named as a photograph"),
        ("0000_n01443537_tench.jpg", "class 0 is n01440764, not n01443537"),
        ("1000_n15075141_tissue.jpg", "class 1000 is none: there are 1000"),
        ("0003_n01491361_tiger_shark.gif", "not named as a photograph"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(folder: Path, name: str, says: str) -> None:
    (folder / name).write_bytes(b"x")
    with pytest.raises(InputError, match=says) as refused:
        tasks.get("imagenet").examples("test")
    assert refused.value.field == SETTING
    assert refused.value.mend


def test_an_empty_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path))
    with pytest.raises(InputError, match="holds 0 photographs"):
        tasks.get("imagenet").examples("test")


def test_without_a_folder_it_is_refused_before_anything_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SETTING, raising=False)
    with pytest.raises(InputError, match="names no folder") as refused:
        data_sources(plan())
    assert refused.value.field == SETTING
    assert tasks.get("imagenet").kind == "image"  # a stack that names it can be read


def test_the_photographs_are_part_of_what_an_artifact_is_made_of(folder: Path) -> None:
    (source,) = data_sources(plan())
    assert (source.uri, source.kind) == (str(folder.resolve()), "path")
