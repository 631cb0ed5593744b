"""Agreement of two answers, for each task."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from serve.dataplane.call import Reply
from serve.shadow import comparison
from serve.shadow.comparison import comparable, compare_pictures
from variants.errors import EngineError
from variants.tasks.digit_classifier.network import SHAPES, DigitClassifier


@pytest.fixture
def classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0)
    network = DigitClassifier({name: noise.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()})
    monkeypatch.setattr(comparison, "load_if_trained", lambda: network)


def drawn(*pictures: np.ndarray) -> Reply:
    """An answer of `/v1/images/generations` with these pictures, uint8 [28, 28] each."""
    data = []
    for picture in pictures:
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        data.append({"b64_json": base64.b64encode(file.getvalue()).decode()})
    return Reply(json.dumps({"data": data}).encode(), None)


@pytest.mark.usefixtures("classifier")
def test_pictures_are_compared_by_the_classifiers_features() -> None:
    noise = np.random.default_rng(1)
    one, other = (noise.integers(0, 255, (28, 28), dtype=np.uint8) for _ in range(2))
    black = np.zeros((28, 28), np.uint8)
    same = compare_pictures([drawn(one, other), drawn(one, other), drawn(one, other)])
    assert (same.variant, same.floor) == (pytest.approx(1.0), pytest.approx(1.0))
    changed = compare_pictures([drawn(one, other), drawn(one, black), drawn(one, other)])
    assert 0.5 <= changed.variant < changed.floor
    assert changed.floor == pytest.approx(1.0)


@pytest.mark.usefixtures("classifier")
def test_pictures_are_compared_if_they_have_the_same_seed() -> None:
    path = "/v1/images/generations"
    assert comparable(path, {"prompt": "a 3", "seed": 0})
    assert not comparable(path, {"prompt": "a 3"})


def test_pictures_are_not_compared_without_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "load_if_trained", lambda: None)
    assert not comparable("/v1/images/generations", {"seed": 1})
    with pytest.raises(EngineError, match="no digit classifier"):
        compare_pictures([drawn()] * 3)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"prompt": "a"}, True),
        ({"prompt": ["a", "b"]}, False),
        ({"prompt": "a", "n": 2}, False),
        ({"prompt": "a", "echo": True}, False),
        ({"prompt": "a", "continue_final_message": True}, False),
    ],
)
def test_text_is_compared_if_one_prompt_has_one_answer(request_: dict[str, object], wanted: bool) -> None:
    assert comparable("/v1/completions", request_) is wanted
    assert comparable("/v1/embeddings", request_)
    assert comparable("/infer", None)
