"""What methods refuse before they do any work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.recipes import parse_recipe
from tests.support.scripted import make_artifact
from variants.artifacts.store import Artifact
from variants.errors import RecipeError
from variants.methods import openvino_ir, pruning
from variants.methods.image_classification import prune_channels
from variants.methods.registry import BuildJob, find
from variants.methods.text_generation import llmcompressor
from variants.progress import NoProgress

CALIBRATION = {"task": "mnist", "examples": 8}


def made_in(home: Path, task: str, precision: str, form: str) -> Artifact:
    """A parent without weights."""
    artifact = make_artifact(home, "made", "parent", task)
    return replace(artifact, manifest=artifact.manifest.model_copy(update={"precision": precision, "format": form}))


def run(task: str, recipe: dict[str, Any], parent: Artifact, home: Path) -> None:
    parsed = parse_recipe(recipe)
    find(task, parsed).run(BuildJob(parsed, 0, None, parent, home / "out", home, NoProgress()))


@pytest.mark.parametrize(
    ("task", "how"),
    [
        ("text-generation", {"scheme": "nf4"}),
        ("text-generation", {"scheme": "llm-int8"}),
        ("text-generation", {"scheme": "fp16"}),
        ("text-generation", {"scheme": "w8a8"}),
        ("text-generation", {"scheme": "w4a16", "group_size": 64}),
        ("text-generation", {"scheme": "w8a8-fp8"}),
        ("image-classification", {"scheme": "bf16"}),
        ("image-classification", {"scheme": "fp16"}),
        ("image-classification", {"scheme": "int8", "calibration": CALIBRATION}),
        ("image-classification", {"scheme": "int8-dynamic"}),
        ("feature-extraction", {"scheme": "int8", "calibration": CALIBRATION}),
        ("object-detection", {"scheme": "bf16"}),
        ("object-detection", {"scheme": "int8", "calibration": CALIBRATION}),
        ("text-classification", {"scheme": "bf16"}),
        ("text-classification", {"scheme": "int8", "calibration": CALIBRATION}),
        ("text-classification", {"scheme": "int8-dynamic"}),
        ("image-generation", {"scheme": "bf16"}),
        ("image-generation", {"scheme": "int8", "calibration": CALIBRATION | {"task": "digit_prompts"}}),
    ],
)
def test_what_is_quantized_already_is_not_quantized_again(tmp_path: Path, task: str, how: dict[str, Any]) -> None:
    form = "huggingface" if task == "text-generation" else "openvino"
    with pytest.raises(RecipeError, match=r"parent: .* int8") as refused:
        run(task, {"kind": "quantize", **how}, made_in(tmp_path, task, "int8", form), tmp_path)
    assert refused.value.mend


def test_a_cut_that_removes_nothing_is_refused() -> None:
    for width, removed in ((32, True), (8, False)):
        model = nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 2))
        before = pruning.parameters(model)
        prune_channels.narrow(model, 0.5, 8)
        if removed:
            pruning.check_smaller(model, before)
        else:
            with pytest.raises(RecipeError, match=f"it removes nothing: all {before} parameters stay"):
                pruning.check_smaller(model, before)


def test_a_linear_layer_keeps_the_rows_and_columns_that_are_named() -> None:
    linear = nn.Linear(3, 4)
    weight, bias = linear.weight.detach().clone(), linear.bias.detach().clone()
    pruning.keep(linear, rows=torch.tensor([0, 2]))
    assert torch.equal(linear.weight, weight[[0, 2]])
    assert torch.equal(linear.bias, bias[[0, 2]])
    pruning.keep(linear, columns=torch.tensor([1]))
    assert torch.equal(linear.weight, weight[[0, 2]][:, [1]])
    assert (linear.out_features, linear.in_features) == (2, 1)
    assert linear(torch.ones(5, 1)).shape == (5, 2)


def test_a_variant_has_beside_its_ir_what_its_parent_has(tmp_path: Path) -> None:
    import openvino as ov
    from openvino import opset13 as ops

    parent = made_in(tmp_path, "text-classification", "f32", "openvino")
    (parent.model_path / "tokenizer.json").write_text("{}")
    (parent.model_path / "model.safetensors").write_text("weights")
    (tmp_path / "out").mkdir()
    given = ops.parameter([1, 2], ov.Type.f32)
    job = BuildJob(parse_recipe({"kind": "merge"}), 0, None, parent, tmp_path / "out", tmp_path, NoProgress())
    made = openvino_ir.write_variant(job, ov.Model([ops.relu(given)], [given]), "bf16", "note", "nncf")
    assert made.served == ("model.xml", "model.bin", "tokenizer.json")
    assert sorted(path.name for path in job.out.iterdir()) == sorted(made.served), "weights to train on stay behind"
    assert (made.precision, made.packages, made.labels) == ("bf16", ("openvino", "nncf"), parent.manifest.labels)


class Attention(nn.Module):
    """Two layers by the names that text models give them, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleDict({"q_proj": nn.Linear(2, 2), "down_proj": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
        self.lm_head = nn.Linear(2, 2)

    def get_output_embeddings(self) -> nn.Module:
        return self.lm_head


@pytest.mark.parametrize("name", ["proj", "norm", "lm_head", "k_proj"])
def test_a_layer_that_the_model_does_not_have_is_refused_and_those_that_it_has_are_named(name: str) -> None:
    llmcompressor.check_layers(["q_proj", "down_proj"], Attention())  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=f"no layer '{name}' .one of down_proj, q_proj"):
        llmcompressor.check_layers(["q_proj", name], Attention())  # type: ignore[arg-type]
