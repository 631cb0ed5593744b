"""Detectors as the hub has them, tiny and random: the boxes of our engine are those of transformers' own reading."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from serve.engines.openvino.detector import OpenVinoDetector
from tests.integration.variants.conftest import job
from tests.integration.variants.methods.detection.test_detectors import constants
from tests.integration.variants.methods.image_classification.test_baseline import with_sources
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError
from variants.methods.detection import huggingface as hub
from variants.methods.registry import find
from variants.recipes.source import Source
from variants.vision.boxes import Box
from variants.vision.letterbox import pixels_of

pytestmark = pytest.mark.integration
NAMES = {0: "cat", 1: "dog", 2: "fox"}
LABELS: dict[str, Any] = {"id2label": NAMES, "label2id": {name: at for at, name in NAMES.items()}}
NORMAL = {"do_normalize": True, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4]}
SETTINGS: dict[str, dict[str, Any]] = {
    "yolos": {"do_resize": True, "size": {"shortest_edge": 64, "longest_edge": 96}, "do_rescale": True, **NORMAL},
    "detr": {"do_resize": True, "size": 64, "max_size": 96, **NORMAL},
    "rt_detr": {"do_resize": True, "size": {"height": 96, "width": 96}, "do_rescale": True, "do_normalize": False},
}
SIZES: dict[str, list[int]] = {"yolos": [64, 96], "detr": [64, 96]}
QUERIES = ("detection_tokens", "position_embedding", "query_position")
LEAST = 0.05


def yolos() -> Any:
    from transformers import YolosConfig, YolosForObjectDetection

    config = YolosConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=[64, 96],
        patch_size=16, num_detection_tokens=10, use_mid_position_embeddings=False, **LABELS,
    )  # fmt: skip
    return YolosForObjectDetection(config)


def detr() -> Any:
    from transformers import DetrConfig, DetrForObjectDetection, ResNetConfig

    backbone = ResNetConfig(  # type: ignore[call-arg]
        embedding_size=8, hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = DetrConfig(  # type: ignore[call-arg]
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        num_queries=10, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=64, decoder_ffn_dim=64, **LABELS,
    )  # fmt: skip
    return DetrForObjectDetection(config)


def rt_detr() -> Any:
    from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

    backbone = RTDetrResNetConfig(  # type: ignore[call-arg]
        embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrConfig(
        backbone_config=backbone, encoder_hidden_dim=32, encoder_in_channels=[16, 24, 32], encoder_layers=1,
        encoder_ffn_dim=64, encoder_attention_heads=2, d_model=32, num_queries=12, decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64, decoder_layers=2, decoder_attention_heads=2, num_denoising=0, anchor_image_size=None,
        **LABELS,
    )  # fmt: skip
    return RTDetrForObjectDetection(config)


MADE: dict[str, Callable[[], Any]] = {"yolos": yolos, "detr": detr, "rt_detr": rt_detr}
NAMED = pytest.mark.parametrize("name", sorted(MADE))


def spread(model: Any) -> None:
    """Weights that keep the size of what passes: as transformers draws them, all queries end alike."""
    import torch

    with torch.no_grad():
        for name, values in model.named_parameters():
            if values.ndim > 1:
                queries = any(part in name for part in QUERIES)
                values.normal_(0, 1.0 if queries else (2 / values[0].numel()) ** 0.5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """As `save_pretrained` leaves them."""
    import torch

    written = {}
    for name, make in MADE.items():
        torch.manual_seed(0)
        model = make().eval()
        spread(model)
        written[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(written[name])
        (written[name] / "preprocessor_config.json").write_text(json.dumps(SETTINGS[name]))
    return written


@pytest.fixture(scope="module")
def built(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Artifact]]:
    home = with_sources(tmp_path_factory.mktemp("home"))
    plans = []
    for name, folder in folders.items():
        sized = {"image_size": SIZES[name]} if name in SIZES else {}
        int8 = {
            "kind": "quantize",
            "scheme": "int8",
            "calibration": {"task": "scenes", "examples": 8},
            "most_loss": None,
        }
        lines = {"baseline": (None, {"kind": "baseline-detector", **sized}), "int8": ("baseline", int8)}
        plans += [
            VariantPlan(
                name.replace("_", "-"), variant, "object-detection", Source(uri=str(folder), licence="Apache-2.0"),
                parse_recipe(recipe), parent,
            )
            for variant, (parent, recipe) in lines.items()
        ]  # fmt: skip
    artifacts = build(plans, Store(home), Catalog(home))
    return {
        name: {variant: artifacts[name.replace("_", "-"), variant] for variant in ("baseline", "int8")}
        for name in folders
    }


def picture(seed: int, width: int, height: int) -> bytes:
    """Blurred noise: something to see everywhere."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(file, "PNG")
    return file.getvalue()


PICTURES = [picture(0, 150, 100), picture(1, 96, 64), picture(2, 60, 120)]


def engine(artifact: Artifact) -> OpenVinoDetector:
    manifest = artifact.manifest
    assert manifest.detector is not None
    surer = manifest.model_copy(update={"detector": manifest.detector.model_copy(update={"least": LEAST})})
    return OpenVinoDetector(artifact.model_path / "model.xml", surer, 1)


def theirs(name: str, folder: Path, artifact: Artifact, image: bytes) -> list[Box]:
    """transformers' own boxes for the pixels that our engine sees, in pixels of the image."""
    import torch
    from transformers.models.detr.image_processing_pil_detr import DetrImageProcessorPil
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    detector = artifact.manifest.detector
    assert detector is not None
    prepared, scale, (width, height) = pixels_of(image, detector)
    pixels = torch.from_numpy(prepared)[None]
    if SETTINGS[name].get("do_normalize"):
        mean, spread = (torch.tensor(SETTINGS[name][f"image_{each}"]).reshape(1, 3, 1, 1) for each in ("mean", "std"))
        pixels = (pixels - mean) / spread
    with torch.no_grad():
        outputs = hub.load(folder)(pixels)
    reader = {"yolos": YolosImageProcessorPil, "detr": DetrImageProcessorPil, "rt_detr": RTDetrImageProcessorPil}[
        name
    ]()
    sizes = [(detector.size[0] / scale[1], detector.size[1] / scale[0])]
    (answer,) = reader.post_process_object_detection(outputs, threshold=LEAST, target_sizes=sizes)
    most = np.array([width, height, width, height])
    rows = zip(answer["labels"].tolist(), answer["boxes"].numpy(), answer["scores"].tolist(), strict=True)
    boxes = [Box(NAMES[label], *np.clip(box, 0, most).tolist(), score=score) for label, box, score in rows]
    return sorted(boxes, key=lambda box: -box.score)


@NAMED
def test_our_boxes_are_those_that_transformers_reads(
    name: str, folders: dict[str, Path], built: dict[str, dict[str, Artifact]]
) -> None:
    ours = engine(built[name]["baseline"])
    seen = set()
    for image in PICTURES:
        boxes, wanted = ours.find(image), theirs(name, folders[name], built[name]["baseline"], image)
        assert len(boxes) > 3
        assert [box.label for box in boxes] == [box.label for box in wanted]
        assert np.allclose([box[1:] for box in boxes], [box[1:] for box in wanted], atol=2e-2)
        assert [box.score for box in boxes] == pytest.approx([box.score for box in wanted], abs=1e-4)
        seen |= {box.label for box in boxes}
    assert len(seen) > 1, "a detector that says one thing alone shows little"


def test_pixels_of_a_stretched_image_are_the_processors_own(built: dict[str, dict[str, Artifact]]) -> None:
    from transformers.models.rt_detr.image_processing_pil_rt_detr import RTDetrImageProcessorPil

    detector = built["rt_detr"]["baseline"].manifest.detector
    assert detector is not None
    for image in PICTURES:
        wanted = RTDetrImageProcessorPil(**SETTINGS["rt_detr"])(Image.open(io.BytesIO(image)), return_tensors="np")
        assert np.allclose(pixels_of(image, detector)[0], wanted["pixel_values"][0], atol=1 / 255 + 1e-6)


def test_what_the_folder_says_is_in_the_manifest(built: dict[str, dict[str, Artifact]]) -> None:
    for name, variants in built.items():
        base, int8 = (variants[each].manifest for each in ("baseline", "int8"))
        assert base.labels == int8.labels == ("cat", "dog", "fox")
        assert base.detector == int8.detector
        assert (base.precision, int8.precision) == ("f32", "int8")
        before, after = (constants(variants[each]) for each in ("baseline", "int8"))
        assert "i8" not in before
        assert after["i8"] > after.get("f32", 0), name
    detectors = {name: variants["baseline"].manifest.detector for name, variants in built.items()}
    assert {name: (each.decoder, each.size, each.fit, each.most) for name, each in detectors.items() if each} == {
        "yolos": ("detr", (64, 96), "proportions", 10),
        "detr": ("detr", (64, 96), "proportions", 10),
        "rt_detr": ("detr-focal", (96, 96), "stretch", 12),
    }
    assert detectors["yolos"] is not None
    assert detectors["yolos"].pad == pytest.approx(255 * 0.4)


@NAMED
def test_int8_stays_close(name: str, built: dict[str, dict[str, Artifact]]) -> None:
    base, int8 = (engine(built[name][each]) for each in ("baseline", "int8"))
    for image in PICTURES:
        pixels = pixels_of(image, base.detector)[0][None]
        before, after = (np.array(each.run(pixels)) for each in (base, int8))
        assert before.shape == after.shape
        assert 0 < np.abs(before[..., :4] - after[..., :4]).mean() < 0.25, "less than boxes drawn at random differ"


@pytest.mark.parametrize(
    ("recipe", "field", "says"),
    [({}, "recipe.image_size", "come in no one size"), ({"image_size": [16, 16]}, "recipe.image_size", "convert")],
)
def test_a_size_that_is_missing_or_does_not_fit_is_refused(
    folders: dict[str, Path], tmp_path: Path, recipe: dict[str, object], field: str, says: str
) -> None:
    whole: dict[str, object] = {"kind": "baseline-detector", **recipe}
    folder = folders["rt_detr" if recipe else "yolos"]
    with pytest.raises(RecipeError, match=says) as refused:
        find("object-detection", parse_recipe(whole)).run(job(whole, tmp_path / "out", folder))
    assert refused.value.field == field
    assert list((tmp_path / "out").iterdir()) == []


def test_another_family_in_the_folder_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    whole: dict[str, object] = {"kind": "baseline-detector", "image_size": [64, 64]}
    with pytest.raises(SourceError, match="transformers cannot read") as refused:
        find("object-detection", parse_recipe(whole)).run(job(whole, tmp_path / "out", tiny_vit))
    assert refused.value.field == "source.uri"


def test_a_folder_is_no_onnx_file_and_an_onnx_file_no_folder(folders: dict[str, Path], tmp_path: Path) -> None:
    onnx: dict[str, object] = {
        "kind": "baseline-detector", "labels": ["cat"],
        "detector": {"decoder": "yolox", "size": [64, 64], "strides": [8]},
    }  # fmt: skip
    with pytest.raises(RecipeError, match="is a folder, not an ONNX file"):
        find("object-detection", parse_recipe(onnx)).run(job(onnx, tmp_path / "one", folders["yolos"]))
    (tmp_path / "some.onnx").write_bytes(b"")
    plain: dict[str, object] = {"kind": "baseline-detector"}
    with pytest.raises(RecipeError, match="is one file, no Hugging Face folder"):
        find("object-detection", parse_recipe(plain)).run(job(plain, tmp_path / "two", tmp_path / "some.onnx"))
