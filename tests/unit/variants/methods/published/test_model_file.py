"""The one model in a source, or a sentence that names the file and the mend."""

from pathlib import Path

import pytest

from variants.errors import SourceError
from variants.methods.published.model_file import file_of


def folder(tmp_path: Path, *names: str) -> Path:
    for name in names:
        (tmp_path / name).touch()
    return tmp_path


def test_the_only_model_of_a_folder_is_read(tmp_path: Path) -> None:
    made = folder(tmp_path, "model.xml", "model.bin", "openvino_tokenizer.xml", "openvino_tokenizer.bin", "config.json")
    assert file_of(made).name == "model.xml"


def test_an_onnx_file_alone_and_one_with_its_data(tmp_path: Path) -> None:
    made = folder(tmp_path, "model.onnx", "model.onnx_data")
    assert file_of(made) == file_of(made / "model.onnx") == made / "model.onnx"


@pytest.mark.parametrize(
    ("names", "named", "says"),
    [
        (["model.xml"], "", "model.xml has no model.bin beside it (give both files of the IR)"),
        (["model.xml", "model.bin"], "model.xml", "model.xml is one of an IR's two files"),
        (["a.onnx", "b.onnx"], "", "has a.onnx and b.onnx (leave one of them there)"),
        (["pytorch_model.bin"], "", "pytorch_model.bin is a pickle, or weights without a model, and is not loaded"),
        (["weights.pth"], "weights.pth", "weights.pth is a pickle"),
        (["model.gguf"], "model.gguf", "model.gguf is neither an OpenVINO IR nor an ONNX file"),
        (["README.md"], "", "has no .xml and no .onnx file"),
    ],
)
def test_what_is_no_model(tmp_path: Path, names: list[str], named: str, says: str) -> None:
    with pytest.raises(SourceError) as error:
        file_of(folder(tmp_path, *names) / named)
    assert says in str(error.value)
    assert error.value.field == "source.uri"
