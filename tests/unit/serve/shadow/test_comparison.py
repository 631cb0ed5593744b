"""Agreement of two answers, for each task."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.dataplane.call import Reply
from serve.shadow import comparison
from serve.shadow.comparison import compare_pictures, distributions, incomparable, is_scorable
from variants.errors import EngineError
from variants.evidence.free_running import FreeAnswer
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
    assert incomparable(path, {"prompt": "a 3", "seed": 0}) is None
    assert incomparable(path, {"prompt": "a 3"}) == "no seed"


def test_pictures_are_compared_by_pixels_without_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "load_if_trained", lambda: None)
    assert incomparable("/v1/images/generations", {"seed": 1}) is None
    white, grey = (np.full((28, 28), value, np.uint8) for value in (255, 204))
    compared = compare_pictures([drawn(white, white), drawn(white, grey), drawn(white, white)])
    assert (compared.variant, compared.floor) == (pytest.approx(0.9), 1.0)


@pytest.mark.usefixtures("classifier")
def test_pictures_that_are_no_digits_are_compared_by_pixels() -> None:
    black, green = np.zeros((64, 32, 3), np.uint8), np.zeros((64, 32, 3), np.uint8)
    green[..., 1] = 255
    compared = compare_pictures([drawn(black), drawn(green), drawn(black)])
    assert (compared.variant, compared.floor) == (pytest.approx(2 / 3), 1.0)


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"prompt": "a"}, None),
        ({"prompt": ["a", "b"]}, "prompt is no single text"),
        ({"prompt": "a", "n": 2}, "several answers"),
        ({"prompt": "a", "echo": True}, "echo"),
        ({"prompt": "a", "continue_final_message": True}, "continue_final_message"),
    ],
)
def test_text_is_compared_if_one_prompt_has_one_answer(request_: dict[str, object], wanted: str | None) -> None:
    assert incomparable("/v1/completions", request_) == wanted
    assert incomparable("/v1/embeddings", request_) is None
    assert incomparable("/infer", None) is None


def test_chats_with_tools_are_compared() -> None:
    assert incomparable("/v1/chat/completions", {"messages": [], "tools": [{}]}) is None


@pytest.mark.parametrize(
    ("request_", "answer", "wanted"),
    [
        ({}, FreeAnswer("so"), True),
        ({"tools": [{}]}, FreeAnswer("so"), False),
        ({}, FreeAnswer("so", calls=(("weather", "{}"),)), False),
        ({}, FreeAnswer(""), False),
    ],
)
def test_only_plain_text_is_scored_by_both(request_: dict[str, Any], answer: FreeAnswer, wanted: bool) -> None:
    assert is_scorable(request_, answer) is wanted


@pytest.mark.parametrize("chat", [True, False])
def test_only_the_answers_positions_of_a_scored_prompt_are_read(chat: bool) -> None:
    places = [None, *({str(token): {"logprob": -1.0, "rank": 1}} for token in range(5))]
    scored: dict[str, Any] = {"prompt_logprobs": places}
    body = json.dumps({"choices": [{}], **scored} if chat else {"choices": [scored]}).encode()
    assert distributions(body, 2) == [{3: -1.0}, {4: -1.0}]
    assert len(distributions(body, 99)) == 5
    with pytest.raises(EngineError):
        distributions(b'{"choices": [{}]}', 2)
