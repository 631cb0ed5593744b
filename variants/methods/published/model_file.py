"""The OpenVINO IR or the ONNX file in a source, read by OpenVINO. Weights stay as they are.

A file alone is read from a folder of its own: what lies beside it is in no hash, so it must not be used.
"""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from variants.errors import SourceError

if TYPE_CHECKING:
    import openvino as ov

ONNX, IR = ".onnx", ".xml"
FORMS = "a folder with an OpenVINO IR (.xml and .bin), an .onnx file, or a folder with an .onnx file and its data"
_PICKLES = (".bin", ".ckpt", ".joblib", ".pickle", ".pkl", ".pt", ".pth")
_TOKENIZERS = ("openvino_tokenizer.xml", "openvino_detokenizer.xml")
"""Written beside an IR by optimum. The tokenizer that serves is the baseline's."""


def read(source: Path) -> "ov.Model":
    """The model in `source`, a file or a folder. SourceError where there is none, or OpenVINO cannot read it."""
    path = file_of(source)
    if path != source:
        return _read(path)
    with TemporaryDirectory() as alone:
        return _read(Path(shutil.copyfile(path, Path(alone) / path.name)))


def file_of(source: Path) -> Path:
    """The one .onnx or .xml file of a source. SourceError where there is none or several, or an .xml has no .bin."""
    if source.is_file():
        if source.suffix == IR:
            raise refused(f"{source.name} is one of an IR's two files", "name the folder that has it and its .bin")
        if source.suffix != ONNX:
            raise refused(_unlike(source), FORMS)
        return source
    files = [path for path in sorted(source.iterdir()) if path.suffix in (IR, ONNX) and path.name not in _TOKENIZERS]
    if len(files) > 1:
        raise refused(f"{source.name} has {' and '.join(path.name for path in files)}", "leave one of them there")
    if not files:
        pickle = next((path for path in sorted(source.iterdir()) if path.suffix in _PICKLES), None)
        raise refused(_unlike(pickle) if pickle else f"{source.name} has no .xml and no .onnx file", FORMS)
    if files[0].suffix == IR and not (weights := files[0].with_suffix(".bin")).is_file():
        raise refused(f"{files[0].name} has no {weights.name} beside it", "give both files of the IR")
    return files[0]


def _unlike(path: Path) -> str:
    if path.suffix in _PICKLES:
        return f"{path.name} is a pickle, or weights without a model, and is not loaded"
    return f"{path.name} is neither an OpenVINO IR nor an ONNX file"


def _read(path: Path) -> "ov.Model":
    import openvino as ov

    weights = {"weights": path.with_suffix(".bin")} if path.suffix == IR else {}
    try:
        return ov.Core().read_model(path, **weights)
    except RuntimeError as error:
        mend = "a whole file" if path.suffix == IR else "a whole file of operators that OpenVINO knows"
        raise refused(f"OpenVINO cannot read {path.name}: {reason_of(error)}", mend) from error


def reason_of(error: RuntimeError) -> str:
    """The last line of OpenVINO's message: those before name its own source files."""
    return str(error).strip().splitlines()[-1].strip()


def refused(message: str, mend: str) -> SourceError:
    return SourceError(message, field="source.uri", mend=mend)
