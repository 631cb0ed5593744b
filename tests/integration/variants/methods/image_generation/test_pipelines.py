"""Tiny pipelines of diffusers through the real methods: what is built draws what diffusers draws, or near it."""

import json
import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from serve.engines.artifact import open_artifact
from serve.engines.torch.image_generator import TorchGenerator
from tests.integration.variants.conftest import job
from tests.support.pipelines import LORA, write_lora, write_pipeline
from tests.support.recipes import parse_recipe
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError, UnderstudyError
from variants.methods.registry import find
from variants.recipes.source import Source
from variants.vision.diffusion_pipeline import Size

pytestmark = pytest.mark.integration
TASK: Final = "image-generation"
INT8: dict[str, Any] = {"kind": "quantize", "scheme": "int8-dynamic"}
SPARSE: dict[str, Any] = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5, "most_loss": None}
BASELINE: dict[str, Any] = {"kind": "baseline", "dtype": "float32"}
ADAPTER: dict[str, Any] = {"kind": "adapter"}
RECIPES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "baseline": (None, BASELINE),
    "bf16": (None, {"kind": "baseline", "dtype": "bfloat16"}),
    "int8": ("baseline", INT8),
    "sparse": ("baseline", SPARSE),
    "style": ("baseline", ADAPTER),
    "style-bf16": ("bf16", ADAPTER),
}
PROMPT, SEED, STEPS = "a lighthouse", 7, 4
WHOLE, OBLONG = Size(64, 64), Size(32, 48)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("painter"))


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    return write_lora(tmp_path_factory.mktemp("lora"), source)


def built_below(home: Path, recipes: dict[str, Any], source: Path, lora: Path) -> dict[str, Artifact]:
    plans = [
        VariantPlan(
            "painter", name, TASK, Source(uri=str(lora if recipe == ADAPTER else source), licence="MIT"),
            parse_recipe(recipe), parent,
        )
        for name, (parent, recipe) in recipes.items()
    ]  # fmt: skip
    made = build(plans, Store(home), Catalog(home), say=print)
    return {name: made["painter", name] for name in recipes}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, source: Path, lora: Path) -> dict[str, Artifact]:
    return built_below(tmp_path_factory.mktemp("home"), RECIPES, source, lora)


def drawn(artifact: Artifact, size: Size = WHOLE) -> np.ndarray:
    picture: np.ndarray = TorchGenerator(open_artifact(artifact.path), 1).draw(PROMPT, SEED, size, STEPS)
    return picture


def by_diffusers(folder: Path, size: Size = WHOLE, lora: Path | None = None, dtype: str = "float32") -> np.ndarray:
    """What diffusers' own pipeline draws."""
    import torch
    from diffusers import DiffusionPipeline

    pipeline: Any = DiffusionPipeline.from_pretrained(folder, dtype=getattr(torch, dtype))
    if lora:
        pipeline.load_lora_weights(lora)
    generator = torch.Generator("cpu").manual_seed(SEED)
    asked = {"width": size.width, "height": size.height, "num_inference_steps": STEPS, "generator": generator}
    return np.asarray(pipeline(PROMPT, **asked).images[0])


def apart(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of pixels, of 255."""
    return float(np.abs(one.astype(float) - other).mean())


@pytest.mark.parametrize("size", [WHOLE, OBLONG])
def test_the_baseline_draws_what_diffusers_draws(built: dict[str, Artifact], source: Path, size: Size) -> None:
    ours = drawn(built["baseline"], size)
    assert ours.shape == (size.height, size.width, 3)
    assert ours.std() > 1, "a picture has contrast"
    assert np.array_equal(ours, by_diffusers(source, size))
    assert np.array_equal(drawn(built["bf16"], size), by_diffusers(source, size, dtype="bfloat16"))


@pytest.mark.parametrize("size", [WHOLE, OBLONG])
def test_int8_draws_nearly_the_same_at_any_size(built: dict[str, Artifact], size: Size) -> None:
    assert 0 < apart(drawn(built["int8"], size), drawn(built["baseline"], size)) < 4


def test_int8_stores_the_denoiser_in_a_quarter(built: dict[str, Artifact]) -> None:
    files = {name: artifact.manifest.files for name, artifact in built.items()}
    assert not [name for name in files["int8"] if name.startswith("model/unet/") and name.endswith("safetensors")]
    parent = files["baseline"]["model/unet/diffusion_pytorch_model.safetensors"].bytes
    assert files["int8"]["model/unet/model.bin"].bytes < 0.35 * parent
    assert [built[name].manifest.precision for name in RECIPES] == [
        "f32", "bf16", "int8-dynamic", "f32", "f32", "bf16",
    ]  # fmt: skip
    assert {artifact.manifest.format for artifact in built.values()} == {"huggingface"}


def test_builds_say_how_near_their_pictures_are(built: dict[str, Artifact]) -> None:
    losses = {name: artifact.manifest.loss for name, artifact in built.items()}
    assert {name for name, loss in losses.items() if loss} == {"int8", "sparse"}
    assert losses["int8"] is not None
    assert 0.98 < losses["int8"].variant < 1
    assert "3 fixed prompts: likeness to its parent's pictures 9" in losses["int8"].sentence()


def test_sparse_has_zeros(built: dict[str, Artifact]) -> None:
    weights = load_file(built["sparse"].model_path / "unet/diffusion_pytorch_model.safetensors")
    layers = [value for name, value in weights.items() if value.ndim > 1]
    zeros = sum(int((value == 0).sum()) for value in layers)
    assert zeros == pytest.approx(0.5 * sum(value.size for value in layers), rel=0.01)
    assert built["sparse"].manifest.note.startswith(f"{zeros:,} of its denoiser's")


def test_an_adapter_draws_what_diffusers_draws_with_it(built: dict[str, Artifact], source: Path, lora: Path) -> None:
    wanted = by_diffusers(source, lora=lora)
    assert apart(wanted, by_diffusers(source)) > 5, "the adapter changes the picture"
    assert apart(drawn(built["style"]), wanted) < 0.1
    assert apart(drawn(built["style-bf16"]), wanted) < 5
    assert built["style"].manifest.note.startswith("as published: rank 4 on text_encoder, unet")


def test_the_same_source_gives_the_same_bytes(built: dict[str, Artifact], source: Path, lora: Path,
                                              tmp_path: Path) -> None:  # fmt: skip
    moved = shutil.copytree(source, tmp_path / "elsewhere")
    recipes = {name: RECIPES[name] for name in ("baseline", "style")}
    again = built_below(tmp_path / "home", recipes, moved, lora)
    assert {name: made.manifest.digest for name, made in again.items()} == {
        name: built[name].manifest.digest for name in recipes
    }


def test_stable_diffusion_xl_is_built_and_drawn(tmp_path: Path) -> None:
    source = write_pipeline(tmp_path / "xl", "xl")
    recipes = {"baseline": RECIPES["baseline"], "int8": RECIPES["int8"]}
    made = built_below(tmp_path / "home", recipes, source, source)
    baseline = drawn(made["baseline"])
    assert np.array_equal(baseline, by_diffusers(source))
    assert 0 < apart(drawn(made["int8"]), baseline) < 4
    assert drawn(made["int8"], OBLONG).shape == (48, 32, 3)


def test_a_safety_checker_is_left_out_and_that_is_said(source: Path, tmp_path: Path) -> None:
    checked = shutil.copytree(source, tmp_path / "checked")
    index = json.loads((checked / "model_index.json").read_text())
    index["safety_checker"] = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    (checked / "model_index.json").write_text(json.dumps(index))
    (checked / "safety_checker").mkdir()
    (checked / "safety_checker" / "pytorch_model.bin").write_bytes(b"a pickle that nobody loads")
    made = built_below(tmp_path / "home", {"baseline": RECIPES["baseline"]}, checked, checked)["baseline"]
    assert "its safety checker is left out" in made.manifest.note
    assert np.array_equal(drawn(made), by_diffusers(source))


def refused(recipe: dict[str, Any], tmp_path: Path, **start: Any) -> UnderstudyError:
    """The error, after which nothing was written."""
    asked = job(recipe, tmp_path / "out", **start)
    with pytest.raises((RecipeError, SourceError)) as error:
        find(TASK, parse_recipe(recipe)).run(asked)
    assert list((tmp_path / "out").iterdir()) == []
    return error.value


def test_other_pipelines_and_pickles_are_refused_before_work(source: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(source, tmp_path / "broken")
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    error = refused(BASELINE, tmp_path / "pickle", source=broken)
    assert "unet/diffusion_pytorch_model.bin is a pickle" in str(error)
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableVideoDiffusionPipeline"}))
    error = refused(BASELINE, tmp_path / "video", source=broken)
    assert "is a StableVideoDiffusionPipeline, which is not served" in str(error)
    assert error.field == "source.uri"
    assert "cannot be read" in str(refused(BASELINE, tmp_path / "empty", source=tmp_path))


def test_weights_that_are_no_numbers_are_refused(source: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(source, tmp_path / "broken")
    path = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights["conv_out.bias"][:] = np.nan
    save_file(weights, path, {"format": "pt"})
    assert "not finite" in str(refused(BASELINE, tmp_path, source=broken))


def test_what_is_quantized_or_no_pipeline_is_refused(built: dict[str, Artifact], lora: Path, tmp_path: Path) -> None:
    for at, recipe in enumerate((INT8, SPARSE, ADAPTER)):
        error = refused(recipe, tmp_path / str(at), parent=built["int8"], source=lora)
        assert "int8-dynamic already" in str(error)
        assert error.field == "parent"
    pruned = {
        "kind": "prune", "structure": "channels", "sparsity": 0.5,
        "recovery": {"task": "mnist", "examples": 64, "epochs": 1, "batch": 16},
    }  # fmt: skip
    assert "needs a trained UNet" in str(refused(pruned, tmp_path / "pruned", parent=built["baseline"]))


def test_an_adapter_of_another_base_is_refused(built: dict[str, Artifact], lora: Path, tmp_path: Path) -> None:
    tensors = load_file(lora / LORA)
    first = next(name for name in tensors if name.endswith("to_q.lora_A.weight"))

    def changed(name: str, other: dict[str, np.ndarray]) -> str:
        folder = tmp_path / name
        folder.mkdir()
        save_file(other, folder / LORA)
        return str(refused(ADAPTER, tmp_path / f"{name}-out", parent=built["baseline"], source=folder))

    wider = tensors | {first: np.zeros((4, tensors[first].shape[1] + 8), np.float32)}
    assert "is [4, 72], and its base's layer is [64, 64]" in changed("wider", wider)
    moved = {name.replace("mid_block", "other_block"): value for name, value in tensors.items()}
    assert "other_block" in changed("moved", moved)
    assert "which its base lacks" in changed("lacking", {"unet.none.lora_A.weight": tensors[first]})
    dora = tensors | {"unet.mid_block.dora_scale": np.zeros(4, np.float32)}
    assert "dora_scale is not served" in changed("dora", dora)
    assert "no tensor of an adapter" in changed("none", {})
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_lora_weights.bin").write_bytes(b"")
    error = refused(ADAPTER, tmp_path / "pickled-out", parent=built["baseline"], source=tmp_path / "pickled")
    assert "pickles are not loaded" in str(error)
