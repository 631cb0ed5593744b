import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.recipes import parse_recipe
from variants.errors import InputError, RecipeError
from variants.methods.registry import find
from variants.vision.detector import Detector
from variants.vision.letterbox import pixels_of

PLAIN: dict[str, Any] = {"decoder": "yolox", "size": [32, 64], "strides": [8, 16], "mean": 10, "std": 2, "pad": 114}
TRAIN = {
    "kind": "train-detector", "task": "scenes", "examples": 64, "epochs": 1, "image_size": 96, "width": 32,
}  # fmt: skip
ONNX: dict[str, Any] = {"kind": "baseline-detector", "detector": PLAIN, "labels": ["cat", "dog"]}


def picture(width: int, height: int, mode: str = "RGB", colour: Any = (200, 100, 0)) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), colour).save(file, "PNG")
    return file.getvalue()


def test_an_image_keeps_its_proportions_and_the_rest_is_filled() -> None:
    pixels, scale, size = pixels_of(picture(100, 100), Detector.model_validate(PLAIN))
    assert (pixels.shape, pixels.dtype, scale, size) == ((3, 32, 64), np.float32, (0.32, 0.32), (100, 100))
    assert (pixels[:, :, :32] == np.array([95, 45, -5]).reshape(3, 1, 1)).all()
    assert (pixels[:, :, 32:] == 52).all()
    wide, scale, _ = pixels_of(picture(200, 50), Detector.model_validate(PLAIN))
    assert scale == (0.32, 0.32)
    assert (wide[0, :16] == 95).all()
    assert (wide[0, 16:] == 52).all()


def test_a_stretched_image_fills_the_input_and_says_both_scales() -> None:
    stretched = Detector.model_validate({**PLAIN, "fit": "stretch"})
    pixels, scale, size = pixels_of(picture(128, 16), stretched)
    assert (scale, size) == ((0.5, 2.0), (128, 16))
    assert (pixels == np.array([95, 45, -5]).reshape(3, 1, 1)).all()


def test_an_image_that_would_be_too_large_while_it_is_stretched_is_refused() -> None:
    stretched = Detector.model_validate({**PLAIN, "fit": "stretch"})
    with pytest.raises(InputError, match="too elongated") as refused:
        pixels_of(picture(1, 800_000, "L", 0), stretched, "inputs[0]")
    assert refused.value.field == "inputs[0]"
    assert pixels_of(picture(1, 800_000, "L", 0), Detector.model_validate(PLAIN))[0].shape == (3, 32, 64)


def test_a_recipe_of_an_onnx_file_keeps_its_digest_and_a_folder_says_all_of_itself() -> None:
    assert parse_recipe(ONNX).canonical_sha256().startswith("8a0274e40ec837e6")
    assert parse_recipe({"kind": "baseline-detector"}).model_dump(mode="json") == {"kind": "baseline-detector"}
    assert find("object-detection", parse_recipe({"kind": "baseline-detector"})).name == "huggingface-detector-f32"


def test_channels_are_in_the_order_that_is_said_and_grey_becomes_three() -> None:
    bgr = Detector.model_validate({**PLAIN, "channels": "BGR"})
    assert pixels_of(picture(64, 32), bgr)[0][:, 0, 0].tolist() == [-5, 45, 95]
    assert pixels_of(picture(64, 32, "L", 30), bgr)[0][:, 0, 0].tolist() == [10, 10, 10]


def test_what_is_no_image_names_the_field() -> None:
    with pytest.raises(InputError, match="neither PNG nor JPEG") as refused:
        pixels_of(b"nothing", Detector.model_validate(PLAIN), "inputs[0]")
    assert refused.value.field == "inputs[0]"


@pytest.mark.parametrize(
    ("data", "field", "says"),
    [
        ({**ONNX, "labels": []}, "recipe.labels", "at least 1"),
        ({**ONNX, "labels": ["cat", "cat"]}, "recipe", "labels: each must be different"),
        ({**ONNX, "detector": {**PLAIN, "decoder": "ssd"}}, "recipe.detector.decoder", "yolox"),
        ({**ONNX, "detector": {**PLAIN, "strides": [12]}}, "recipe.detector", "not whole numbers"),
        ({**ONNX, "detector": {**PLAIN, "decoder": "centernet"}}, "recipe.detector", "centernet has one"),
        ({**ONNX, "detector": {**PLAIN, "anchors": 3}}, "recipe.detector.anchors", "Extra"),
        ({**ONNX, "detector": {**PLAIN, "strides": []}}, "recipe.detector", "strides: yolox needs at least one"),
        ({**ONNX, "detector": {**PLAIN, "decoder": "detr"}}, "recipe.detector", "strides: detr has none"),
        ({**ONNX, "detector": {"decoder": "detr", "size": [32, 32]}}, "recipe", "detr is of a Hugging Face folder"),
        ({**ONNX, "image_size": [32, 32]}, "recipe", "both and no more for an ONNX file"),
        ({"kind": "baseline-detector", "labels": ["cat"]}, "recipe", "both and no more for an ONNX file"),
        ({**TRAIN, "width": 20}, "recipe.width", "multiple of 8"),
        ({**TRAIN, "image_size": 100}, "recipe.image_size", "multiple of 16"),
        ({"kind": "sparsify", "algorithm": "magnitude", "sparsity": 1}, "recipe.sparsity", "less than 1"),
    ],
)
def test_a_recipe_that_means_nothing_is_refused_when_it_is_read(data: object, field: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as refused:
        parse_recipe(data)
    assert refused.value.field == field


def test_methods_for_detectors_are_found_and_others_refused() -> None:
    assert find("object-detection", parse_recipe(TRAIN)).starts_from == "source"
    assert find("object-detection", parse_recipe(ONNX)).starts_from == "source"
    with pytest.raises(RecipeError, match="no method makes 'quantize nf4' for object-detection"):
        find("object-detection", parse_recipe({"kind": "quantize", "scheme": "nf4"}))
    with pytest.raises(RecipeError, match="no method makes 'train-detector' for image-classification"):
        find("image-classification", parse_recipe(TRAIN))
