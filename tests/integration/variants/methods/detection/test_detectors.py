"""Detectors as they are stored: shapes, dtypes and zeros exact, and every form computes what it was made from."""

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.engines.openvino.detector import OpenVinoDetector
from tests.integration.conftest import Detectors
from tests.integration.variants.conftest import job
from tests.support.recipes import parse_recipe
from variants.artifacts.store import Artifact
from variants.errors import RecipeError, SourceError
from variants.evidence.average_precision import statistic
from variants.home import home
from variants.methods.detection import network
from variants.methods.registry import find
from variants.tasks.scenes import Scenes
from variants.vision.boxes import from_text
from variants.vision.detector import Detector
from variants.vision.letterbox import pixels_of

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def artifacts(detectors: Detectors) -> dict[str, Artifact]:
    return detectors.artifacts


def raw(artifact: Artifact, pixels: np.ndarray) -> np.ndarray:
    """What the IR gives, executed in f32."""
    import openvino as ov

    model = ov.Core().read_model(artifact.model_path / "model.xml")
    compiled = ov.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.asarray(compiled({"pixels": pixels})["predictions"])


def pixels(count: int) -> list[np.ndarray]:
    inputs = [example.input for example in Scenes(home()).examples("test", count)]
    return [pixels_of(image, network.describe(96))[0][None] for image in inputs if isinstance(image, bytes)]


def constants(artifact: Artifact) -> dict[str, int]:
    """Constants of more than 64 elements, by their type."""
    import openvino as ov

    counts: dict[str, int] = {}
    for node in ov.Core().read_model(artifact.model_path / "model.xml").get_ops():
        if node.get_type_name() == "Constant" and math.prod(node.get_output_shape(0)) > 64:
            name = node.get_element_type().get_type_name()
            counts[name] = counts.get(name, 0) + 1
    return counts


def tensors(artifact: Artifact) -> dict[str, tuple[int, ...]]:
    from safetensors.torch import load_file

    weights = load_file(artifact.model_path / network.WEIGHTS)
    return {name: tuple(weights[name].shape) for name in sorted(weights, key=lambda name: int(name.partition(".")[0]))}


def test_training_finds_digits(artifacts: dict[str, Artifact]) -> None:
    manifest = artifacts["baseline"].manifest
    model = OpenVinoDetector(artifacts["baseline"].model_path / "model.xml", manifest, 1)
    examples = Scenes(home()).examples("test", 60)
    answers = [model.find(example.input) for example in examples if isinstance(example.input, bytes)]
    figure = statistic("mAP50", answers, [from_text(example.label) for example in examples])
    assert figure(np.ones(60, np.int64)) > 0.15, "two seconds of training: chance is 0.01"


def test_what_is_said_of_it_is_in_every_manifest(artifacts: dict[str, Artifact]) -> None:
    wanted = Detector(decoder="centernet", size=(96, 96), strides=(8,), least=0.05)
    precisions = {"baseline": "f32", "bf16": "bf16", "int8": "int8", "pruned": "f32", "sparse": "f32"}
    assert {name: artifact.manifest.precision for name, artifact in artifacts.items()} == precisions
    for artifact in artifacts.values():
        assert artifact.manifest.detector == wanted
        assert artifact.manifest.labels == tuple("0123456789")
        assert (artifact.manifest.format, artifact.manifest.preprocess) == ("openvino", None)
        files = artifact.manifest.files
        assert artifact.manifest.bytes == files["model/model.xml"].bytes + files["model/model.bin"].bytes


@pytest.mark.parametrize("variant", ["baseline", "pruned"])
def test_the_ir_computes_what_the_stored_weights_do(artifacts: dict[str, Artifact], variant: str) -> None:
    import torch

    model, _ = network.of_artifact(artifacts[variant])
    for image in pixels(3):
        with torch.no_grad():
            theirs = model(torch.from_numpy(image)).numpy()
        mine = raw(artifacts[variant], image)
        assert (mine.shape, mine.dtype) == ((1, 14, 12, 12), np.float32)
        np.testing.assert_allclose(mine, theirs, atol=1e-3)


def test_pruned_is_dense_and_of_smaller_shapes(artifacts: dict[str, Artifact]) -> None:
    widths = {"baseline": (8, 8, 24, 32, 32, 32, 32), "pruned": (8, 8, 8, 16, 16, 16, 16)}
    for variant, (first, *others) in widths.items():
        shapes = [shape for shape in tensors(artifacts[variant]).values() if len(shape) == 4]
        before = [3, first, *others]
        wanted = [(after, was, 3, 3) for was, after in zip(before, [first, *others], strict=False)]
        assert shapes == [*wanted, (14, others[-1], 1, 1)]
    said = re.match(r"([\d,]+) of its parent's ([\d,]+) parameters", artifacts["pruned"].manifest.note)
    assert said is not None
    counts = [int(count.replace(",", "")) for count in said.groups()]
    assert counts == [sum(p.numel() for p in network.of_artifact(artifacts[v])[0].parameters()) for v in
                      ("pruned", "baseline")]  # fmt: skip
    assert counts[0] < 0.4 * counts[1]


def test_sparse_has_its_zeros_and_its_parents_bytes(artifacts: dict[str, Artifact]) -> None:
    import openvino as ov

    zeros = weights = 0
    for node in ov.Core().read_model(artifacts["sparse"].model_path / "model.xml").get_ops():
        if node.get_type_name() == "Convolution":
            values = node.input_value(1).get_node().data
            assert np.count_nonzero(values == 0) == round(values.size * 0.3)
            zeros, weights = zeros + int(np.count_nonzero(values == 0)), weights + values.size
    note = artifacts["sparse"].manifest.note
    assert note == f"{zeros:,} of its parent's {weights:,} weights outside depthwise convolutions are zero"
    sizes = {name: artifacts[name].manifest.files["model/model.bin"].bytes for name in artifacts}
    assert sizes["sparse"] == sizes["baseline"]
    assert sizes["int8"] < 0.35 * sizes["baseline"]
    assert sizes["bf16"] < 0.55 * sizes["baseline"]
    assert sizes["pruned"] < 0.4 * sizes["baseline"]


def test_constants_are_stored_in_the_precision_that_is_said(artifacts: dict[str, Artifact]) -> None:
    assert constants(artifacts["baseline"]) == {"f32": 8}
    assert "f32" not in constants(artifacts["bf16"])
    assert constants(artifacts["int8"])["i8"] == 8


@pytest.mark.parametrize(("variant", "near"), [("bf16", 0.02), ("int8", 0.15)])
def test_a_variant_stays_close_to_its_parent(artifacts: dict[str, Artifact], variant: str, near: float) -> None:
    for image in pixels(4):
        parent, mine = raw(artifacts["baseline"], image), raw(artifacts[variant], image)
        assert 0 < np.abs(mine - parent).mean() < near * np.abs(parent).mean()


def model_file(folder: Path) -> Path:
    """A file that takes 1 x 3 x 32 x 32 and nothing else, and gives 1 x 5 x 6; as OpenVINO writes it."""
    import openvino as ov
    import torch

    class Some(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.reshape(1, 3072)[:, :30].reshape(1, 5, 6)

    model = ov.convert_model(Some(), example_input=torch.zeros(1, 3, 32, 32), input=[1, 3, 32, 32])
    ov.save_model(model, folder / "made.xml")
    return folder / "made.xml"


def described(**changes: Any) -> dict[str, Any]:
    detector = {"decoder": "yolox", "size": [32, 32], "strides": [16, 32], **changes}
    return {"kind": "baseline-detector", "detector": detector, "labels": ["cat"]}


@pytest.mark.parametrize(
    ("recipe", "field", "says"),
    [
        (described(size=[64, 64]), "recipe.detector.size", "takes"),
        (described(strides=[16]), "recipe", r"gives \[1, 5, 6\]; yolox of 1 labels is \[1, 4, 6\]"),
        (described(decoder="centernet", strides=[16]), "recipe", r"centernet of 1 labels is \[1, 5, 2, 2\]"),
        ({**described(), "labels": ["cat", "dog"]}, "recipe", r"\[1, 5, 7\]"),
    ],
)
def test_a_file_that_is_not_what_the_recipe_says_is_refused(
    tmp_path: Path, recipe: dict[str, Any], field: str, says: str
) -> None:
    out = tmp_path / "out"
    with pytest.raises(RecipeError, match=says) as refused:
        find("object-detection", parse_recipe(recipe)).run(job(recipe, out, model_file(tmp_path)))
    assert refused.value.field == field
    assert list(out.iterdir()) == []


def test_a_file_that_is_none_and_too_few_scenes_are_refused(tmp_path: Path, artifacts: dict[str, Artifact]) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"cannot read broken\.onnx"):
        find("object-detection", parse_recipe(described())).run(
            job(described(), tmp_path / "a", tmp_path / "broken.onnx")
        )
    train = {"kind": "train-detector", "task": "scenes", "examples": 8, "epochs": 1, "image_size": 96}
    many = {**train, "examples": 20_001}
    with pytest.raises(RecipeError, match="20000 examples in its train split, not 20001"):
        find("object-detection", parse_recipe(many)).run(job(many, tmp_path / "c", tmp_path))
    few = {**train, "batch": 16}
    with pytest.raises(RecipeError, match="8 images do not fill a batch of 16"):
        find("object-detection", parse_recipe(few)).run(job(few, tmp_path / "d", tmp_path))
    sparse = {"kind": "sparsify", "algorithm": "magnitude", "sparsity": 0.5}
    with pytest.raises(RecipeError, match="its weights are int8 already"):
        find("object-detection", parse_recipe(sparse)).run(job(sparse, tmp_path / "e", parent=artifacts["int8"]))
    int8 = {"kind": "quantize", "scheme": "int8", "calibration": {"task": "scenes", "examples": 301}}
    with pytest.raises(RecipeError, match="300 examples in its calibration split, not 301"):
        find("object-detection", parse_recipe(int8)).run(job(int8, tmp_path / "f", parent=artifacts["baseline"]))


def test_what_is_wanted_of_a_scene_is_at_its_middles() -> None:
    from variants.methods.detection.fitting import targets
    from variants.vision.boxes import Box

    box = Box("7", 16.0, 32.0, 48.0, 80.0)  # 4 by 6 strides around (4, 7)
    heat, reach, near = targets([box], 1.0, tuple("0123456789"), network.describe(96))
    assert (heat.shape, reach.shape, near.shape) == ((10, 12, 12), (4, 12, 12), (12, 12))
    assert np.argwhere(heat == 1).tolist() == [[7, 7, 4]]
    assert heat[[0, 1, 2, 3, 4, 5, 6, 8, 9]].max() == 0
    assert near[7, 4]
    assert reach[:, 7, 4].tolist() == [2.5, 3.5, 1.5, 2.5]
    assert near.sum() < 9


def test_generalized_overlap_worked_out_by_hand() -> None:
    import torch

    from variants.methods.detection.fitting import generalized_overlap

    one = torch.tensor([[1.0, 1.0, 1.0, 1.0]])
    assert generalized_overlap(one, one).item() == 1
    # 2 x 2 in 4 x 2: a half is shared, and the hull is no larger than the union.
    assert generalized_overlap(one, torch.tensor([[1.0, 1.0, 3.0, 1.0]])).item() == pytest.approx(0.5)
