"""What a client may ask of an image generator: one label in plain words, and nothing silently."""

import json
from typing import Any

import pytest

from serve.engines.http.image_generation_request import GenerationRequest, check_size, label_in
from serve.engines.http.text_request import parse
from variants.errors import InputError

LABELS = tuple("0123456789")
IDENTITY = {"user": "ada", "safety_identifier": "ada", "prompt_cache_key": "k", "prompt_cache_retention": "24h"}


def asked(**fields: Any) -> GenerationRequest:
    return parse(GenerationRequest, json.dumps({"model": "m", "prompt": "a 7", **fields}).encode())


@pytest.mark.parametrize("prompt", ["a handwritten 7", "7", "Draw me a 7, please!", "7 7"])
def test_one_label_in_plain_words(prompt: str) -> None:
    assert label_in(prompt, LABELS) == 7


@pytest.mark.parametrize(("prompt", "says"), [("a cat", "none"), ("a 3 and a 5", "2"), ("17", "none"), ("x7", "none")])
def test_no_label_or_several_are_refused(prompt: str, says: str) -> None:
    with pytest.raises(InputError, match=f"names {says} of them") as refused:
        label_in(prompt, LABELS)
    assert refused.value.field == "prompt"


def test_what_openai_has_and_we_offer_is_taken() -> None:
    request = asked(n=3, size="28x28", response_format="b64_json", output_format="png", seed=5, **IDENTITY)
    assert (request.n, request.seed) == (3, 5)
    for size in (None, "auto", "28x28"):
        check_size(size, 28)


@pytest.mark.parametrize("quality", ["auto", "standard"])
def test_openais_defaults_are_taken(quality: str) -> None:
    defaults = {"background": "auto", "moderation": "auto", "style": "vivid", "output_compression": 100}
    assert asked(quality=quality, partial_images=0, stream=False, **defaults).prompt == "a 7"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0), ("n", 11), ("n", True), ("seed", -1), ("seed", 1.5), ("response_format", "url"), ("prompt", ""),
        ("num_inference_steps", 0), ("num_inference_steps", 101), ("num_inference_steps", 2.5),
        ("output_format", "jpeg"), ("stream", True), ("quality", "hd"), ("style", "natural"),
        ("background", "transparent"), ("output_compression", 50), ("partial_images", False),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InputError) as refused:
        asked(**{field: value})
    assert refused.value.field == field


def test_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="28x28, or leave it out") as refused:
        check_size("1024x1024", 28)
    assert refused.value.field == "size"
