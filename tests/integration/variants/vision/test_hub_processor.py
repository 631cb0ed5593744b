"""How published models prepare their images, as transformers has it, against what is served."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.variants.vision.test_preprocess import png
from variants.errors import SourceError
from variants.vision.hub_processor import read
from variants.vision.preprocess import pixels_of

pytestmark = pytest.mark.integration
MIDDLE = {"do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
HALVES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
PROCESSORS = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 48}, "resample": 2, **HALVES},
    "swin": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3},
    "deit": {
        "feature_extractor_type": "DeiTFeatureExtractor", "size": 40, "crop_size": 32, "do_center_crop": True,
        "resample": 3,
    },
    "mobilenet_v2": {"image_processor_type": "MobileNetV2ImageProcessor", "size": {"shortest_edge": 40}, **MIDDLE},
    "resnet": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 28, "crop_pct": 0.875, "resample": 3},
    "convnext": {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 1.0},
    "clip": {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 32}, **MIDDLE},
    "siglip": {"image_processor_type": "SiglipImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3},
    "bit": {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 40}, **MIDDLE, "do_rescale": False,
            "do_normalize": False},
}  # fmt: skip

CLASSES = {
    "vit": "ViT", "swin": "ViT", "deit": "DeiT", "mobilenet_v2": "MobileNetV2", "resnet": "ConvNext",
    "convnext": "ConvNext", "clip": "CLIP", "siglip": "Siglip", "bit": "Bit",
}  # fmt: skip


def folder_of(folder: Path, kind: str, settings: dict[str, object] | str | None) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    if settings is not None:
        text = settings if isinstance(settings, str) else json.dumps(settings)
        (folder / "preprocessor_config.json").write_text(text)
    return folder


@pytest.mark.parametrize("kind", PROCESSORS)
@pytest.mark.parametrize("shape", [(50, 90), (128, 64), (33, 33)])
def test_an_image_becomes_what_transformers_makes_of_it(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    import transformers

    folder = folder_of(tmp_path, kind, PROCESSORS[kind])
    picture = Image.fromarray(np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8))
    processor = getattr(transformers, f"{CLASSES[kind]}ImageProcessorPil").from_pretrained(folder)
    theirs = processor(picture, return_tensors="np")["pixel_values"][0]
    ours = pixels_of(png(picture), read(folder, "source.uri"))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


def test_what_is_said_of_an_image_is_in_the_manifests_terms(tmp_path: Path) -> None:
    preprocess = read(folder_of(tmp_path, "deit", PROCESSORS["deit"]), "source.uri")
    assert (preprocess.size, preprocess.whole, preprocess.short_side, preprocess.resample) == (
        (32, 32),
        (40, 40),
        None,
        "bicubic",
    )


def test_where_an_odd_number_of_pixels_is_cut_one_row_more_or_less_is_no_reason_to_refuse(tmp_path: Path) -> None:
    settings = {"size": {"shortest_edge": 35}, **MIDDLE}
    assert read(folder_of(tmp_path, "mobilenet_v2", settings), "source.uri").short_side == 35


@pytest.mark.parametrize(
    ("kind", "settings", "says"),
    [
        ("levit", {"image_processor_type": "LevitImageProcessor"}, "LevitImageProcessorPil .* more to an image"),
        ("mobilevit", {"image_processor_type": "MobileViTImageProcessor"}, "more to an image than a manifest can say"),
        ("vit", {"do_resize": False}, "do_resize is false"),
        ("mobilenet_v2", {"size": {"shortest_edge": 32}, "do_center_crop": False}, "more to an image"),
        ("mobilenet_v2", {"size": {"shortest_edge": 24}, **MIDDLE}, "24 pixels are less than the 32"),
        ("vit", {"image_mean": "bright"}, "more to an image"),
        ("vit", "not JSON", "cannot read the image processor"),
        ("vit", {"image_processor_type": "NoSuchProcessor"}, "cannot read the image processor"),
        ("vit", None, "cannot read the image processor"),
    ],
)
def test_what_cannot_be_said_is_refused(
    tmp_path: Path, kind: str, settings: dict[str, object] | str | None, says: str
) -> None:
    with pytest.raises(SourceError, match=says) as refused:
        read(folder_of(tmp_path, kind, settings), "source.uri")
    assert refused.value.field == "source.uri"
