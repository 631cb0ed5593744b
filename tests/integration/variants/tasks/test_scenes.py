"""Scenes: the same each time, of digits that no two splits share, their boxes around the ink."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from variants import tasks
from variants.errors import SourceError
from variants.home import home
from variants.recipes.source import fetch
from variants.tasks.mnist import Mnist, grey_digits
from variants.tasks.scenes import SCENES, SIDE
from variants.tasks.scenes import Scenes as Task
from variants.vision.boxes import from_text, overlap

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def scenes() -> Task:
    return Task(home())


def test_a_scene_hangs_on_its_number_alone(scenes: Task) -> None:
    again = Task(home())
    assert scenes.examples("test", 3) == again.examples("test", 20)[:3]
    assert scenes._splits["train"][7] == again.examples("train", 8)[7]
    assert {split: len(scenes._splits[split]) for split in SCENES} == SCENES
    ids = {example.id for split in SCENES for example in scenes.examples(split, 50)}
    assert len(ids) == 150
    with pytest.raises(ValueError, match="500 examples in its test split, not 501"):
        scenes.examples("test", 501)


def test_no_digit_is_in_two_splits() -> None:
    digits = grey_digits(fetch(Mnist.sources[0], home()))
    inks = {split: {grey.tobytes() for grey, _ in pictures} for split, pictures in digits.items()}
    assert {split: len(pictures) for split, pictures in digits.items()} == {
        "test": 1000,
        "train": 3700,
        "calibration": 300,
    }
    assert not inks["test"] & (inks["train"] | inks["calibration"])
    assert not inks["train"] & inks["calibration"]


def test_boxes_are_around_the_ink_and_hardly_overlap(scenes: Task) -> None:
    counts, brighter = [], []
    for example in scenes.examples("test", 60):
        assert isinstance(example.input, bytes)
        canvas = np.asarray(Image.open(io.BytesIO(example.input)))
        assert (canvas.shape, canvas.dtype) == ((SIDE, SIDE), np.uint8)
        boxes = from_text(example.label)
        counts.append(len(boxes))
        for box in boxes:
            assert box.label in scenes.labels
            assert 0 <= box.left < box.right <= SIDE
            assert 0 <= box.top < box.bottom <= SIDE
            inside = canvas[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
            brighter.append(float(inside.max()) - float(np.median(canvas)))
        assert all(overlap(one, other) <= 0.05 for i, one in enumerate(boxes) for other in boxes[:i])
    assert min(counts) >= 1
    assert max(counts) == 5
    assert min(brighter) > 60


def test_coco96_without_its_folder_says_what_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("UNDERSTUDY_ZOO", raising=False)
    with pytest.raises(SourceError, match="set UNDERSTUDY_ZOO"):
        tasks.get("coco96").examples("test")
    monkeypatch.setenv("UNDERSTUDY_ZOO", str(tmp_path))
    with pytest.raises(SourceError, match="no such file or folder"):
        tasks.get("coco96").examples("test")
