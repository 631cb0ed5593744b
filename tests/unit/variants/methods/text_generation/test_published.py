"""Forms of text models that no engine here runs are refused by what reads them."""

from pathlib import Path

import pytest

from variants.errors import RecipeError, SourceError
from variants.methods.text_generation.published import check_form


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
