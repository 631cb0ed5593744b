"""Forms of text models that no engine here runs are refused by what reads them."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from loadtest.benchmarks.architectures.tiny import ARCHITECTURES, write
from variants.errors import RecipeError, SourceError
from variants.methods.text_generation.published import INDEX, check_files, check_form, check_tensors, tensors


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("model-q4.gguf", r"source.uri: model-q4.gguf is GGUF, which no engine here runs for text \(kind: baseline"),
        ("model.onnx", "model.onnx is ONNX, which no engine here runs for text"),
        ("openvino_model.xml", "openvino_model.xml is an OpenVINO IR, which no engine here runs for text"),
    ],
)
def test_a_form_that_no_engine_runs(tmp_path: Path, name: str, says: str, alone: bool) -> None:
    (tmp_path / name).touch()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(RecipeError, match=says):
        check_form(tmp_path / name if alone else tmp_path)


def test_a_checkpoint_may_have_other_forms_beside_it(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "model.gguf"):
        (tmp_path / name).touch()
    check_form(tmp_path)


def test_another_file_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(SourceError, match=r"model\.safetensors is one file"):
        check_form(tmp_path / "model.safetensors")


def packed(folder: Path, name: str = "Llama") -> Path:
    """A model of which one matrix is packed, as compressed-tensors names it."""
    write(next(each for each in ARCHITECTURES if each.name == name), folder)

    def pack(weights: dict[str, Any]) -> None:
        layer = "model.layers.1.mlp.up_proj"
        weights.pop(f"{layer}.weight", None)
        weights[f"{layer}.weight_packed"] = torch.zeros(8, 8, dtype=torch.int32)

    return rewritten(folder, pack)


def rewritten(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def check(folder: Path) -> None:
    check_files(folder)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    check_tensors(folder, kind, ".weight_packed", tensors(folder))


def test_a_checkpoint_with_a_packed_matrix_is_whole(tmp_path: Path) -> None:
    check(packed(tmp_path / "model"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda w: w.pop("lm_head.weight"), "model.safetensors has no weights for lm_head.weight"),
        (lambda w: w.pop("model.layers.1.mlp.up_proj.weight_packed"), "no weights for model.layers.1.mlp.up_proj."),
        (lambda w: w.pop("model.norm.weight"), "no weights for model.norm.weight"),
        (
            lambda w: w.update({"model.norm.weight": torch.ones(64)}),
            "model.safetensors has model.norm.weight as [64], and config.json says [128]",
        ),
    ],
)
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], says: str
) -> None:
    folder = rewritten(packed(tmp_path / "model"), change)
    with pytest.raises(SourceError, match=re.escape(says)):
        check(folder)


def test_tensors_that_transformers_renames_are_left_to_the_engine(tmp_path: Path) -> None:
    check(packed(tmp_path / "model", "Mixtral"))


def test_a_checkpoint_that_is_not_whole_is_named(tmp_path: Path) -> None:
    path = packed(tmp_path / "model") / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"model\.safetensors is no safetensors file"):
        check(path.parent)


@pytest.mark.parametrize(
    ("index", "says"),
    [
        ("[", "cannot be read"),
        ("{}", "cannot be read"),
        ('{"weight_map": 3}', "cannot be read"),
        ('{"weight_map": {"lm_head.weight": "other.safetensors"}}', "names other.safetensors, which is not there"),
        ('{"weight_map": {"more.weight": "model.safetensors"}}', "model.safetensors has no more.weight"),
    ],
)
def test_an_index_that_does_not_fit_its_files_is_refused(tmp_path: Path, index: str, says: str) -> None:
    folder = packed(tmp_path / "model")
    (folder / INDEX).write_text(index)
    with pytest.raises(SourceError, match=re.escape(says)):
        check(folder)
