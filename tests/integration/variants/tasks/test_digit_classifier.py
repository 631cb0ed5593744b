"""The classifier is trained on training digits, kept, and reads held-out ones."""

from pathlib import Path

import numpy as np
import pytest

from variants import tasks
from variants.home import home, sources_of
from variants.progress import NoProgress
from variants.tasks.digit_classifier import store
from variants.tasks.digit_classifier.network import SHAPES
from variants.tasks.digit_classifier.store import load_or_train, path_of

pytestmark = pytest.mark.integration


def test_it_reads_held_out_digits() -> None:
    examples = tasks.get("mnist").examples("test")
    read = load_or_train().read_all([example.input for example in examples if isinstance(example.input, bytes)])
    right = sum(digit == example.label for digit, example in zip(read, examples, strict=True))
    assert len(examples) == 1000
    assert right >= 970, right


def test_it_is_trained_once_and_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(store.TRAINING, "epochs", 1)
    classifiers = []
    for name in ("one", "two"):
        place = tmp_path / name
        place.mkdir()
        (place / "sources").symlink_to(sources_of(home()))
        classifiers.append(load_or_train(place, NoProgress()))
        assert path_of(place).is_file()
        assert load_or_train(place) is classifiers[-1]
    for part, shape in SHAPES.items():
        assert (classifiers[0].weights[part].dtype, classifiers[0].weights[part].shape) == (np.float32, shape)
        assert np.array_equal(classifiers[0].weights[part], classifiers[1].weights[part])


def test_prompts_are_balanced_seeded_and_never_shared() -> None:
    task = tasks.get("digit_prompts")
    seeds: list[int] = []
    for split in ("test", "calibration"):
        examples = task.examples(split)
        assert {label: sum(each.label == label for each in examples) for label in task.labels} == {
            label: len(examples) // 10 for label in task.labels
        }
        seeds += [each.input.seed for each in examples]
    assert len(set(seeds)) == 1200
    assert task.examples("test", 1)[0].input.text == f"a handwritten {task.examples('test', 1)[0].label}"
