"""Dynamic-range int8 for image transformers: weights in 8 bits, one scale a row, by NNCF; activations are brought to 8
bits as they come, by the engine, which is told to by the precision that the manifest names.

It needs no calibration images and stays closer to the parent than static int8. But only products of linear layers are
computed in 8 bits: OpenVINO has no such kernel for convolutions, whose weights would be widened again at each load. So
a net that holds most of its weights in convolutions is refused: static int8 is what makes that one faster.
"""

import logging
from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, read_f32, write_ir

if TYPE_CHECKING:
    import openvino as ov

_LINEAR, _CONVOLUTION = ("MatMul",), ("Convolution", "GroupConvolution")


def int8(job: BuildJob) -> MethodResult:
    """The parent with its linear layers' weights in 8 bits. RecipeError when convolutions hold more than those."""
    model, parent = read_f32(job.parent)
    linear, convolution = weights_of(model, _LINEAR), weights_of(model, _CONVOLUTION)
    if linear < convolution:
        raise RecipeError(
            f"convolutions hold {convolution:,} weights and linear layers {linear:,}: only these run in dynamic int8",
            field="recipe.scheme",
            mend="int8, which is static",
        )
    import nncf

    nncf.set_log_level(logging.ERROR)
    with job.progress.step("bringing weights to 8 bits"):
        kept = nncf.IgnoredScope(types=list(_CONVOLUTION), validate=False)
        mode = nncf.CompressWeightsMode.INT8_SYM
        write_ir(nncf.compress_weights(model, mode=mode, ignored_scope=kept), job.out)
    note = "its parent's linear layers in 8 bits, a scale a row; activations brought to 8 bits as they come"
    packages = ("openvino", "nncf")
    return MethodResult(
        "int8-dynamic", "openvino", note, packages, parent.manifest.labels, parent.manifest.preprocess, IR
    )


def weights_of(model: "ov.Model", types: tuple[str, ...]) -> int:
    """How many constant weights the operations of these types hold."""
    weights = (node.input_value(1).get_node() for node in model.get_ops() if node.get_type_name() in types)
    return sum(_elements(node) for node in weights)


def _elements(node: "ov.Node") -> int:
    """Of a constant, which a grouped convolution may hold behind a reshape; 0 of anything else."""
    if node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    return int(node.data.size) if node.get_type_name() == "Constant" else 0
