"""Image methods on a tiny random ViT: the IR computes what the model computes, in the precision it says."""

import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError
from variants.methods.registry import find
from variants.recipes.source import Source
from variants.vision.preprocess import pixels_of

pytestmark = pytest.mark.integration
BASELINE = {"kind": "baseline", "dtype": "float32"}
LITE0 = {
    "kind": "train", "task": "mnist", "architecture": "efficientnet-lite0", "examples": 64, "epochs": 1, "batch": 16,
    "image_size": 32,
}  # fmt: skip


@pytest.fixture(scope="session")
def built(tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """baseline, bf16, int8, and a fine-tuned one of the tiny ViT, through the builder."""
    home = tmp_path_factory.mktemp("home")
    train = {**LITE0, "architecture": "huggingface", "epochs": 2, "learning_rate": 0.01}
    recipes: dict[str, tuple[str | None, dict[str, Any]]] = {
        "baseline": (None, BASELINE),
        "bf16": ("baseline", {"kind": "quantize", "scheme": "bf16"}),
        "int8": ("baseline", {"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 16}}),
        "digits": (None, train),
    }
    source = Source(uri=str(tiny_vit), licence="Apache-2.0")
    plans = [
        VariantPlan("tiny", name, "image-classification", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]
    artifacts = build(plans, Store(home), Catalog(home))
    return {name: Store(home).open(artifacts["tiny", name].manifest.key) for name in recipes}


def logits(artifact: Artifact, pixels: np.ndarray, precision: str = "f32") -> np.ndarray:
    import openvino as ov

    model = ov.Core().read_model(artifact.model_path / "model.xml")
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
    return np.asarray(compiled({"pixels": pixels})["logits"])


def picture(seed: int) -> bytes:
    values = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()


def test_the_ir_computes_what_transformers_computes(built: dict[str, Artifact], tiny_vit: Path) -> None:
    import torch
    from transformers import AutoModelForImageClassification

    preprocess = built["baseline"].manifest.preprocess
    assert preprocess is not None
    files = [picture(seed) for seed in range(3)]
    shares = [
        torch.tensor(np.asarray(Image.open(io.BytesIO(file)).resize((32, 32), Image.Resampling.BILINEAR)) / 255.0)
        for file in files
    ]
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.5, 0.6, 0.7])
    prepared = ((torch.stack(shares) - mean) / std).permute(0, 3, 1, 2).float()
    with torch.no_grad():
        theirs = AutoModelForImageClassification.from_pretrained(tiny_vit)(prepared).logits.numpy()
    mine = logits(built["baseline"], np.stack([pixels_of(file, preprocess) for file in files]))
    assert mine.shape == (3, 3)
    assert np.allclose(mine, theirs, atol=1e-4)
    manifest = built["baseline"].manifest
    assert (manifest.labels, manifest.precision) == (("cat", "dog", "fox"), "f32")


def test_constants_are_stored_in_the_precision_that_is_said(built: dict[str, Artifact]) -> None:
    import openvino as ov

    def stored(variant: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for node in ov.Core().read_model(built[variant].model_path / "model.xml").get_ops():
            if node.get_type_name() == "Constant" and math.prod(node.get_output_shape(0)) > 64:
                name = node.get_element_type().get_type_name()
                counts[name] = counts.get(name, 0) + 1
        return counts

    assert "f32" in stored("baseline")
    assert "f16" not in stored("baseline")
    assert "bf16" in stored("bf16")
    assert "f32" not in stored("bf16")
    assert stored("int8").get("i8", 0) + stored("int8").get("u8", 0) > 5


def test_what_is_served_is_counted_and_the_rest_is_not(built: dict[str, Artifact]) -> None:
    for name, artifact in built.items():
        files = artifact.manifest.files
        assert artifact.manifest.bytes == files["model/model.xml"].bytes + files["model/model.bin"].bytes, name
    weights = {name: artifact.manifest.files["model/model.bin"].bytes for name, artifact in built.items()}
    assert weights["bf16"] < 0.6 * weights["baseline"]
    assert weights["int8"] < 0.5 * weights["baseline"]


@pytest.mark.parametrize("variant", ["bf16", "int8"])
def test_a_variant_stays_close_to_its_parent(built: dict[str, Artifact], variant: str) -> None:
    preprocess = built["baseline"].manifest.preprocess
    assert preprocess is not None
    pixels = np.stack([pixels_of(picture(seed), preprocess) for seed in range(8)])
    parent = logits(built["baseline"], pixels)
    change = np.abs(logits(built[variant], pixels) - parent).max()
    assert 0 < change < 0.25 * np.abs(parent).max()


def test_a_fine_tuned_classifier_has_the_tasks_labels(built: dict[str, Artifact], tiny_vit: Path) -> None:
    manifest = built["digits"].manifest
    assert manifest.labels == tuple("0123456789")
    assert manifest.note.endswith("fine-tuned on 64 examples of mnist")
    assert any("mnist_5k" in source.uri for source in manifest.sources)
    pixels = np.zeros((2, 3, 32, 32), np.float32)
    assert logits(built["digits"], pixels).shape == (2, 10)


def test_a_processor_of_another_size_than_the_model_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vit"
    shutil.copytree(tiny_vit, folder)
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(settings | {"size": {"height": 48, "width": 48}}))
    baseline = {"kind": "baseline", "dtype": "float32"}
    with pytest.raises(SourceError, match="makes 48 x 48 pixels, which the model does not take") as refused:
        find("image-classification", parse_recipe(baseline)).run(job(baseline, tmp_path / "out", folder))
    assert refused.value.field == "source.uri"
    assert list((tmp_path / "out").iterdir()) == []


def test_an_image_size_that_does_not_fit_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    recipe = {**LITE0, "architecture": "huggingface", "image_size": 64}
    with pytest.raises(RecipeError, match="64 pixels do not fit") as refused:
        find("image-classification", parse_recipe(recipe)).run(job(recipe, tmp_path / "out", tiny_vit))
    assert refused.value.field == "recipe.image_size"


def test_a_pickle_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    import pickle

    ran = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    weights = tmp_path / "weights.pth"
    weights.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(SourceError, match="holds no EfficientNet-Lite0 weights"):
        find("image-classification", parse_recipe(LITE0)).run(job(LITE0, tmp_path / "out", weights))
    assert not ran.exists()
