"""EfficientNet-Lite0 with fewer channels and with an adapter: real weights, tiny training, shapes and sums exact."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.variants.conftest import job
from tests.integration.variants.methods.image_classification.test_image_methods import LITE0, logits, picture
from tests.integration.variants.methods.test_real_weights import LITE0 as WEIGHTS
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.files import sha256_of
from variants.home import home
from variants.methods.image_classification import efficientnet_lite0
from variants.methods.registry import find
from variants.recipes.source import Source, fetch
from variants.vision.preprocess import pixels_of

pytestmark = pytest.mark.integration
PRUNED = {
    "kind": "prune", "structure": "channels", "sparsity": 0.5,
    "recovery": {"task": "mnist", "examples": 64, "epochs": 1, "batch": 16},
}  # fmt: skip
LORA = {
    "kind": "lora", "task": "mnist", "rank": 4, "alpha": 8, "steps": 4, "batch": 16, "learning_rate": 0.005,
    "architecture": "efficientnet-lite0", "image_size": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def source() -> Source:
    return Source(uri=str(fetch(WEIGHTS, home())), licence="Apache-2.0")


@pytest.fixture(scope="module")
def built(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """baseline, pruned and lora, through the builder; int8 of the pruned one, to see that it is a parent like any."""
    folder = tmp_path_factory.mktemp("home")
    recipes: dict[str, tuple[str | None, dict[str, Any]]] = {
        "baseline": (None, LITE0),
        "pruned": ("baseline", PRUNED),
        "pruned-int8": (
            "pruned",
            {"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 16}},
        ),
        "lora": (None, LORA),
    }
    plans = [
        VariantPlan("digits", name, "image-classification", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]
    artifacts = build(plans, Store(folder), Catalog(folder))
    return {name: Store(folder).open(artifacts["digits", name].manifest.key) for name in recipes}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.stack([pixels_of(picture(seed), efficientnet_lite0.preprocess(32)) for seed in range(4)])


def tensors(path: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(path)


def test_pruned_is_a_dense_model_of_smaller_shapes(built: dict[str, Artifact]) -> None:
    parent = tensors(built["baseline"].model_path / efficientnet_lite0.WEIGHTS)
    pruned = tensors(built["pruned"].model_path / efficientnet_lite0.WEIGHTS)
    assert pruned.keys() == parent.keys()
    for name, tensor in pruned.items():
        assert all(mine <= theirs for mine, theirs in zip(tensor.shape, parent[name].shape, strict=True)), name
    # Half of each width, rounded down to a multiple of 8, never below 8; the classes stay.
    expected = {
        "_conv_stem.weight": (16, 3, 3, 3),
        "_blocks.0._project_conv.weight": (8, 16, 1, 1),
        "_blocks.1._expand_conv.weight": (48, 8, 1, 1),
        "_blocks.1._depthwise_conv.weight": (48, 1, 3, 3),
        "_conv_head.weight": (640, 160, 1, 1),
        "_fc.weight": (10, 640),
        "_fc.bias": (10,),
    }
    assert {name: tuple(pruned[name].shape) for name in expected} == expected
    assert all((tensor != 0).float().mean() > 0.9 for name, tensor in pruned.items() if name.endswith("conv.weight"))


def test_pruned_says_how_many_parameters_it_has(built: dict[str, Artifact]) -> None:
    said = re.match(r"([\d,]+) of its parent's ([\d,]+) parameters", built["pruned"].manifest.note)
    assert said is not None
    assert [int(count.replace(",", "")) for count in said.groups()] == [902_570, 3_383_818]
    model = efficientnet_lite0.of_artifact(built["pruned"])
    assert sum(parameter.numel() for parameter in model.parameters()) == 902_570
    files = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "pruned")}
    assert files["pruned"] < 0.3 * files["baseline"]


@pytest.mark.parametrize("variant", ["baseline", "pruned", "lora"])
def test_the_ir_computes_what_the_stored_weights_do(
    built: dict[str, Artifact], pixels: np.ndarray, variant: str
) -> None:
    import torch

    with torch.no_grad():
        theirs = efficientnet_lite0.of_artifact(built[variant])(torch.from_numpy(pixels)).numpy()
    assert np.allclose(logits(built[variant], pixels), theirs, atol=1e-4)
    manifest = built[variant].manifest
    assert (manifest.precision, manifest.labels) == ("f32", tuple("0123456789"))
    assert manifest.bytes == sum(manifest.files[f"model/model.{kind}"].bytes for kind in ("xml", "bin"))


def test_statistics_are_those_of_the_images_after_the_cut(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    import torch

    from variants.methods.image_classification.prune_channels import narrow
    from variants.methods.pruning import recompute_batchnorm

    model: Any = efficientnet_lite0.of_artifact(built["baseline"])
    narrow(model, 0.5, 32)
    weights = [parameter.clone() for parameter in model.parameters()]
    recompute_batchnorm(model, torch.from_numpy(pixels))
    with torch.no_grad():
        sums = model._conv_stem(torch.from_numpy(pixels)).transpose(0, 1).flatten(1)
    assert torch.allclose(model._bn0.running_mean, sums.mean(1), atol=1e-5)
    assert torch.allclose(model._bn0.running_var, sums.var(1), rtol=1e-4)
    assert all(torch.equal(*pair) for pair in zip(weights, model.parameters(), strict=True))


def test_the_parent_is_as_it_was(built: dict[str, Artifact]) -> None:
    for name, entry in built["baseline"].manifest.files.items():
        assert sha256_of(built["baseline"].path / name) == entry.sha256


def test_a_pruned_model_can_be_quantized(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    assert logits(built["pruned-int8"], pixels).shape == (4, 10)
    sizes = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("pruned", "pruned-int8")}
    assert sizes["pruned-int8"] < 0.5 * sizes["pruned"]


def test_the_adapter_is_low_rank_matrices_and_a_head(built: dict[str, Artifact]) -> None:
    path = built["lora"].model_path / "adapter" / "adapter_model.safetensors"
    adapter = tensors(path)
    matrices = {name: tensor for name, tensor in adapter.items() if ".lora_" in name}
    head = {name.rpartition("base_model.model.")[2] for name in adapter.keys() - matrices.keys()}
    assert head == {"_fc.weight", "_fc.bias"}
    assert len(matrices) == 2 * (16 + 15 + 1)  # project, expand (not in the first block), head convolution
    for name, tensor in matrices.items():
        low, wide = (0, 1) if ".lora_A." in name else (1, 0)
        assert (tensor.shape[low], *tensor.shape[2:]) == (4, 1, 1), name
        assert tensor.shape[wide] >= 16, name
        assert tensor.abs().max() > 0, name
    assert f"an adapter of {path.stat().st_size:,} bytes" in built["lora"].manifest.note
    assert sorted(built["lora"].manifest.files) == [
        "model/adapter/adapter_config.json", "model/adapter/adapter_model.safetensors",
        "model/model.bin", "model/model.safetensors", "model/model.xml",
    ]  # fmt: skip


def test_merged_is_base_plus_adapter(built: dict[str, Artifact], source: Source, pixels: np.ndarray) -> None:
    import torch
    from peft import PeftModel

    from variants.methods.image_classification.lora import base

    published = base(Path(source.uri), 32, 10)
    frozen = {name: tensor.clone() for name, tensor in published.state_dict().items()}
    model = PeftModel.from_pretrained(published, str(built["lora"].model_path / "adapter")).eval()
    with torch.no_grad():
        assert np.allclose(logits(built["lora"], pixels), model(torch.from_numpy(pixels)).numpy(), atol=1e-4)
    merged = tensors(built["lora"].model_path / efficientnet_lite0.WEIGHTS)
    assert merged.keys() == frozen.keys()
    adapted = {name for name in merged if not torch.equal(merged[name], frozen[name])}
    pointwise = {name for name in merged if re.search(r"(_expand_conv|_project_conv|_conv_head)\.weight$", name)}
    assert adapted == pointwise | {"_fc.weight", "_fc.bias"}, "BatchNorm and depthwise weights are those published"


@pytest.mark.parametrize("variant", ["pruned", "lora"])
def test_the_same_seed_makes_the_same_weights(
    built: dict[str, Artifact], source: Source, tmp_path: Path, variant: str
) -> None:
    recipe: dict[str, object] = PRUNED if variant == "pruned" else LORA
    start = {"parent": built["baseline"]} if variant == "pruned" else {"source": Path(source.uri)}
    again = job(recipe, tmp_path / "out", **start)
    find("image-classification", parse_recipe(recipe)).run(again)
    assert (
        sha256_of(again.out / efficientnet_lite0.WEIGHTS)
        == built[variant].manifest.files[f"model/{efficientnet_lite0.WEIGHTS}"].sha256
    )


def test_a_recovery_of_less_than_a_batch_is_refused(built: dict[str, Artifact], tmp_path: Path) -> None:
    recipe: dict[str, object] = {**PRUNED, "recovery": {**PRUNED["recovery"], "batch": 65}}  # type: ignore[dict-item]
    with pytest.raises(RecipeError, match="do not fill a batch of 65"):
        find("image-classification", parse_recipe(recipe)).run(job(recipe, tmp_path / "out", parent=built["baseline"]))


def test_a_parent_of_another_architecture_is_refused(built: dict[str, Artifact], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs an EfficientNet-Lite0 as parent") as refused:
        find("image-classification", parse_recipe(PRUNED)).run(
            job(PRUNED, tmp_path / "out", parent=built["pruned-int8"])
        )
    assert refused.value.field == "parent"
    assert list((tmp_path / "out").iterdir()) == []
