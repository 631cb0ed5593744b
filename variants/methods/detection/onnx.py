"""A detector from an ONNX file as OpenVINO IR, with its weights unchanged, in float32.

The file does not say how its images are prepared or what its output means. The recipe does, and the shapes that follow
from it are checked here.

The IR is for one image of one size, and constants that follow from that are folded. Without folding, each bias of an
ONNX model goes through a dozen operations that compute its shape. NNCF then recognises no bias, no activation to fuse
and no constant weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from variants.errors import RecipeError, SourceError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection.network import NAMES
from variants.methods.openvino_ir import IR, write_ir
from variants.recipes.recipe import DetectorBaseline
from variants.vision.detector import Detector

if TYPE_CHECKING:
    import openvino as ov


def baseline(job: BuildJob[DetectorBaseline]) -> MethodResult:
    """The file as an IR for one image at a time, executed in float32. SourceError when OpenVINO cannot read it.
    RecipeError when its shapes are not those that the recipe's `detector` and `labels` need."""
    detector, labels = job.recipe.detector, job.recipe.labels
    assert job.source is not None
    assert detector is not None
    assert labels is not None
    if job.source.is_dir():
        mend = "leave detector and labels out: a Hugging Face folder has its own"
        raise RecipeError(f"{job.source.name} is a folder, not an ONNX file", field="recipe.detector", mend=mend)
    import openvino as ov

    with job.progress.step(f"reading {job.source.name}"):
        try:
            model = ov.Core().read_model(job.source)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise SourceError(f"OpenVINO cannot read {job.source.name}: {reason}", field="source.uri") from error
        _check(model, detector, len(labels))
        model = _folded(job.source, detector)
    write_ir(model, job.out, NAMES)
    return MethodResult("f32", "openvino", f"{job.source.name} as published", ("openvino",), labels, None, IR, detector)


def _check(model: "ov.Model", detector: Detector, classes: int) -> None:
    """Fix the input to one image of the detector's size. RecipeError when the output's shape is not the decoder's."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        counts = f"{len(model.inputs)} inputs and {len(model.outputs)} outputs"
        raise RecipeError(f"the file has {counts}", field="source", mend="a detector with one of each")
    wanted = [1, 3, *detector.size]
    try:
        model.reshape(wanted)
    except RuntimeError as error:
        input_shape = model.inputs[0].partial_shape
        mend = "the size that the file was exported for"
        raise RecipeError(
            f"the file takes {input_shape}, not {wanted}", field="recipe.detector.size", mend=mend
        ) from error
    shape = list(model.outputs[0].shape)
    rows, columns = (side // detector.strides[0] for side in detector.size)
    right = {"yolox": [1, detector.places, 5 + classes], "centernet": [1, classes + 4, rows, columns]}[detector.decoder]
    if shape != right:
        mend = "the decoder, strides and labels that it was trained with"
        raise RecipeError(
            f"the file gives {shape}; {detector.decoder} of {classes} labels is {right}", field="recipe", mend=mend
        )


def _folded(source: Path, detector: Detector) -> "ov.Model":
    """The file through OpenVINO's converter, with constants folded. The converter fuses operations such as x *
    sigmoid(x): without that fusion, int8 lost 8 points of mAP50."""
    import openvino as ov
    from openvino.passes import ConstantFolding, Manager

    model = ov.convert_model(source)
    model.reshape([1, 3, *detector.size])
    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)
    return model
