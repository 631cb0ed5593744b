"""Image transformers as the hub has them, on a tiny random ViT: dynamic int8, an adapter, zeros: as stored, as run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.engines.openvino.image_classifier import OpenVinoModel
from tests.integration.variants.conftest import job
from tests.integration.variants.methods.image_classification.test_baseline import weights_of, with_sources
from tests.integration.variants.methods.image_classification.test_image_methods import BASELINE, logits
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.methods.registry import find
from variants.recipes.source import Source

pytestmark = pytest.mark.integration
LORA = {
    "kind": "lora", "task": "mnist", "rank": 4, "alpha": 8, "steps": 4, "batch": 16, "learning_rate": 0.01,
    "architecture": "huggingface", "image_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tiny_vit: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    folder = with_sources(tmp_path_factory.mktemp("home"))
    recipes: dict[str, tuple[str | None, dict[str, Any]]] = {
        "baseline": (None, BASELINE),
        "int8-dynamic": ("baseline", {"kind": "quantize", "scheme": "int8-dynamic"}),
        "sparse": ("baseline", {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.75}),
        "lora": (None, LORA),
        "lora-int8": ("lora", {"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 8}}),
    }
    source = Source(uri=str(tiny_vit), licence="Apache-2.0")
    plans = [
        VariantPlan("tiny", name, "image-classification", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]
    artifacts = build(plans, Store(folder), Catalog(folder))
    return {name: Store(folder).open(artifacts["tiny", name].manifest.key) for name in recipes}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 32, 32), dtype=np.float32)


def test_dynamic_int8_stores_linear_layers_in_8_bits_and_convolutions_as_they_were(built: dict[str, Artifact]) -> None:
    before, after = (weights_of(built[name], ("MatMul",)) for name in ("baseline", "int8-dynamic"))
    assert {values.dtype for values in before.values()} == {np.dtype(np.float32)}
    assert len(after) == len(before) == 2 * 6 + 1
    assert {values.dtype for values in after.values()} == {np.dtype(np.int8)}
    for name, values in after.items():
        assert np.abs(values.astype(int)).max(axis=1).min() >= 127, f"{name}: a scale a row uses all of it"
    stem = [weights_of(built[name], ("Convolution",)) for name in ("baseline", "int8-dynamic")]
    assert len(stem[0]) == 1
    assert all(np.array_equal(stem[0][name], stem[1][name]) for name in stem[0])
    assert built["int8-dynamic"].manifest.precision == "int8-dynamic"


def test_dynamic_int8_runs_in_the_engine_and_stays_close(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    manifest = built["int8-dynamic"].manifest
    model = OpenVinoModel(built["int8-dynamic"].model_path / "model.xml", manifest, 1)
    compiled = model.request.get_compiled_model()
    assert model.executes == "f32", "what is not a linear layer's product"
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 32
    theirs = OpenVinoModel(built["baseline"].model_path / "model.xml", built["baseline"].manifest, 1)
    change = np.abs(model.predict(pixels) - theirs.predict(pixels)).max()
    assert 0 < change < 0.05


def test_zeros_are_where_the_weights_were_smallest(built: dict[str, Artifact]) -> None:
    for name, values in weights_of(built["sparse"], ("MatMul", "Convolution")).items():
        assert (values == 0).sum() == round(values.size * 0.75), name


def test_merged_is_base_plus_adapter(built: dict[str, Artifact], tiny_vit: Path, pixels: np.ndarray) -> None:
    import torch
    from peft import PeftModel

    from variants.methods.image_classification.model import load_huggingface

    manifest = built["lora"].manifest
    assert manifest.labels == tuple("0123456789")
    base, _ = load_huggingface(tiny_vit, manifest.labels)
    model = PeftModel.from_pretrained(base, str(built["lora"].model_path / "adapter")).eval()
    with torch.no_grad():
        theirs = model(torch.from_numpy(pixels)).logits.numpy()
    assert np.allclose(logits(built["lora"], pixels), theirs, atol=1e-4)
    files = built["lora"].manifest.files
    assert manifest.bytes == sum(files[f"model/model.{kind}"].bytes for kind in ("xml", "bin"))


def test_the_adapter_holds_every_linear_layer_and_the_head(built: dict[str, Artifact]) -> None:
    from safetensors.torch import load_file

    path = built["lora"].model_path / "adapter" / "adapter_model.safetensors"
    adapter = load_file(path)
    assert f"an adapter of {path.stat().st_size:,} bytes" in built["lora"].manifest.note
    matrices = {name: tensor for name, tensor in adapter.items() if ".lora_" in name}
    assert len(matrices) == 2 * 2 * 6
    assert all(4 in tensor.shape for tensor in matrices.values())
    assert {name.rpartition("base_model.model.")[2] for name in adapter.keys() - matrices.keys()} == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip


def test_an_adapted_one_can_be_quantized(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    last = built["lora-int8"].manifest
    assert (last.parent_digest, last.labels) == (built["lora"].manifest.digest, tuple("0123456789"))
    assert last.preprocess == built["lora"].manifest.preprocess
    assert logits(built["lora-int8"], pixels).shape == (2, 10)


def test_an_image_size_that_does_not_fit_is_refused(tiny_vit: Path, tmp_path: Path) -> None:
    recipe: dict[str, object] = {**LORA, "image_size": 64}
    with pytest.raises(RecipeError, match="64 pixels do not fit") as refused:
        find("image-classification", parse_recipe(recipe)).run(job(recipe, tmp_path / "out", tiny_vit))
    assert refused.value.field == "recipe.image_size"
