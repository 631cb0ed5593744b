"""A tiny diffusion model through the real methods: what is written is exact, what cannot be is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from serve.engines.openvino.image_generator import OpenVinoGenerator
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError
from variants.files import sha256_of
from variants.home import home, sources_of
from variants.methods.image_generation import unet
from variants.methods.registry import find
from variants.recipes.source import fetch
from variants.tasks.digit_classifier.store import load_or_train
from variants.tasks.mnist import Mnist
from variants.vision.diffusion_sampler import Sampler

pytestmark = pytest.mark.integration
TASK: Final = "image-generation"
BASE: dict[str, Any] = {
    "kind": "diffusion", "task": "mnist", "examples": 64, "width": 32, "deep_width": 32, "steps": 8, "batch": 16,
    "sampling_steps": 4,
}  # fmt: skip
PRUNED: dict[str, Any] = {
    "kind": "prune", "structure": "channels", "sparsity": 0.5,
    "recovery": {"task": "mnist", "examples": 64, "epochs": 1, "batch": 16},
}  # fmt: skip
INT8: dict[str, Any] = {
    "kind": "quantize", "scheme": "int8", "calibration": {"task": "digit_prompts", "examples": 2}
}  # fmt: skip
RECIPES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "baseline": (None, BASE),
    "bf16": ("baseline", {"kind": "quantize", "scheme": "bf16"}),
    "int8": ("baseline", INT8),
    "pruned": ("baseline", PRUNED),
    "sparse": ("baseline", {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}),
    "pruned-int8": ("pruned", INT8),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data and the digit classifier in it."""
    folder = tmp_path_factory.mktemp("home")
    load_or_train(home())
    (folder / "judges").symlink_to(home() / "judges")
    (folder / "sources").symlink_to(sources_of(home()))
    return folder


@pytest.fixture(scope="module")
def built(folder: Path) -> dict[str, Artifact]:
    plans = [
        VariantPlan("scribe", name, TASK, Mnist.sources[0], parse_recipe(recipe), parent)
        for name, (parent, recipe) in RECIPES.items()
    ]
    artifacts = build(plans, Store(folder), Catalog(folder))
    return {name: Store(folder).open(artifacts["scribe", name].manifest.key) for name in RECIPES}


def constants(artifact: Artifact) -> dict[str, int]:
    """Numbers in the IR's constants, by type."""
    import openvino

    counts: dict[str, int] = {}
    for node in openvino.Core().read_model(artifact.model_path / "model.xml").get_ops():
        if node.get_type_name() == "Constant":
            kind = node.get_element_type().get_type_name()
            counts[kind] = counts.get(kind, 0) + node.data.size
    return counts


def velocity(artifact: Artifact, seed: int = 0) -> np.ndarray:
    model = OpenVinoGenerator(artifact.model_path, "f32", 1, Mnist.labels)
    return model.velocity(model.sampler.noise(seed), 500, 7)


def test_every_variant_is_an_ir_with_its_sampler(built: dict[str, Artifact]) -> None:
    precisions = {name: artifact.manifest.precision for name, artifact in built.items()}
    assert precisions == {
        "baseline": "f32", "bf16": "bf16", "int8": "int8", "pruned": "f32", "sparse": "f32", "pruned-int8": "int8",
    }  # fmt: skip
    for artifact in built.values():
        manifest = artifact.manifest
        assert (manifest.format, manifest.labels, manifest.preprocess) == ("openvino", Mnist.labels, None)
        assert manifest.bytes == sum(manifest.files[f"model/{name}"].bytes for name in unet.SERVED)
        sampler = Sampler.of_folder(artifact.model_path)
        assert (sampler.side, sampler.timesteps, sampler.alphas[0]) == (28, (999, 749, 499, 249), 0.0)


@pytest.mark.parametrize("variant", ["baseline", "sparse"])
def test_the_ir_computes_what_the_unet_does(built: dict[str, Artifact], variant: str) -> None:
    import torch
    from torch.nn import functional

    model: Any = unet.of_artifact(built[variant])
    noise = Sampler.of_folder(built[variant].model_path).noise(0)
    with torch.no_grad():
        folded = unet.fold(torch.from_numpy(noise))
        output = model(folded, torch.tensor([500.0]), class_labels=torch.tensor([7]), return_dict=False)[0]
    assert tuple(output.shape) == (1, 4, 14, 14)
    wanted = functional.pixel_shuffle(output, 2).numpy()
    np.testing.assert_allclose(velocity(built[variant]), wanted, atol=1e-4)


def test_quantized_variants_store_fewer_bits(built: dict[str, Artifact]) -> None:
    kinds = {name: constants(artifact) for name, artifact in built.items()}
    assert set(kinds["baseline"]) <= {"f32", "i32", "i64"}
    assert kinds["bf16"]["bf16"] > 0.95 * kinds["baseline"]["f32"]
    assert kinds["int8"]["i8"] > 0.8 * kinds["baseline"]["f32"]
    sizes = {name: artifact.manifest.files["model/model.bin"].bytes for name, artifact in built.items()}
    assert sizes["bf16"] < 0.55 * sizes["baseline"]
    assert sizes["int8"] < 0.5 * sizes["baseline"]


def test_quantized_variants_stay_near_their_parent(built: dict[str, Artifact]) -> None:
    parent = velocity(built["baseline"])
    for name, most in (("bf16", 0.02), ("int8", 0.2)):
        apart = np.linalg.norm(velocity(built[name]) - parent) / np.linalg.norm(parent)
        assert 0 < apart < most, name


def test_no_timestep_is_rounded(built: dict[str, Artifact]) -> None:
    import openvino as ov

    for name in ("int8", "pruned-int8"):
        model = ov.Core().read_model(built[name].model_path / "model.xml")
        takers = {each.get_node().get_type_name() for each in model.input("timestep").get_target_inputs()}
        assert takers
        assert "FakeQuantize" not in takers, "a range would end at the mean of all timesteps"


def test_builds_say_what_they_lost(built: dict[str, Artifact]) -> None:
    losses = {name: artifact.manifest.loss for name, artifact in built.items()}
    measured = {name for name, loss in losses.items() if loss and loss.task == "digit_prompts" and loss.examples == 100}
    assert measured == {"int8", "pruned-int8"}, "others name no task, and the plan no evaluation"
    assert losses["baseline"] is None


def test_pruned_is_dense_and_of_half_the_widths(built: dict[str, Artifact]) -> None:
    said = re.match(r"([\d,]+) of its parent's ([\d,]+) parameters", built["pruned"].manifest.note)
    assert said is not None
    pruned, parent = (int(count.replace(",", "")) for count in said.groups())
    assert parent == sum(parameter.numel() for parameter in unet.of_artifact(built["baseline"]).parameters())
    assert 0.2 * parent < pruned < 0.5 * parent
    sizes = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "pruned")}
    assert sizes["pruned"] < 0.6 * sizes["baseline"]
    assert velocity(built["pruned"]).shape == (1, 1, 28, 28)


def test_sparse_has_zeros_and_the_size_of_its_parent(built: dict[str, Artifact]) -> None:
    from torch import nn

    model = unet.of_artifact(built["sparse"])
    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    assert zeros == pytest.approx(0.5 * sum(weight.numel() for weight in weights), rel=1e-3)
    assert built["sparse"].manifest.note.startswith(f"{zeros:,} of its parent's ")
    sizes = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "sparse")}
    assert sizes["sparse"] == pytest.approx(sizes["baseline"], rel=0.01)


def test_the_same_seed_makes_the_same_weights(built: dict[str, Artifact], folder: Path, tmp_path: Path) -> None:
    made = job(BASE, tmp_path / "out", source=fetch(Mnist.sources[0], folder))
    find(TASK, parse_recipe(BASE)).run(at_home(made, folder))
    name = f"{unet.FOLDER}/diffusion_pytorch_model.safetensors"
    assert sha256_of(made.out / name) == built["baseline"].manifest.files[f"model/{name}"].sha256


def test_drawing_is_deterministic(built: dict[str, Artifact]) -> None:
    models = [OpenVinoGenerator(built["int8"].model_path, "int8", 1, Mnist.labels) for _ in range(2)]
    first, second = (model.draw(3, seed=5) for model in models)
    assert (first.dtype, first.shape) == (np.uint8, (28, 28))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, models[0].draw(3, seed=6))


def at_home(made: Any, folder: Path) -> Any:
    import dataclasses

    return dataclasses.replace(made, home=folder)


Refused = tuple[dict[str, Any], str | None, str, str]
REFUSED: dict[str, Refused] = {
    "more than there are": ({**BASE, "examples": 4001}, None, "recipe.examples", "4000 examples"),
    "less than a batch": ({**BASE, "batch": 65}, None, "recipe", "do not fill a batch of 65"),
    "too few prompts": (
        {**INT8, "calibration": {"task": "digit_prompts", "examples": 201}}, "baseline",
        "recipe.calibration.examples", "200 examples",
    ),
    "pruned twice": (PRUNED, "pruned", "parent", "needs a trained UNet"),
    "thinned after pruning": (RECIPES["sparse"][1], "pruned", "parent", "needs a trained UNet"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_written(
    built: dict[str, Artifact], folder: Path, tmp_path: Path, case: Refused
) -> None:
    recipe, parent, field, says = case
    start = {"parent": built[parent]} if parent else {"source": fetch(Mnist.sources[0], folder)}
    asked = at_home(job(recipe, tmp_path / "out", **start), folder)
    with pytest.raises(RecipeError, match=says) as refused:
        find(TASK, parse_recipe(recipe)).run(asked)
    assert refused.value.field == field
    assert list((tmp_path / "out").iterdir()) == []


def test_a_source_that_is_not_the_tasks_data_is_refused(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "weights"
    other.write_bytes(b"weights")
    run: Callable[..., Any] = find(TASK, parse_recipe(BASE)).run
    with pytest.raises(RecipeError, match="trained from nothing on mnist") as refused:
        run(at_home(job(BASE, tmp_path / "out", source=other), folder))
    assert refused.value.field == "source"
