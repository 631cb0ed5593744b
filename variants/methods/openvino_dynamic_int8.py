"""Dynamic int8 for transformers in OpenVINO: weights in 8 bits, one scale a row, by NNCF. The engine rounds activations
to 8 bits as they come; the precision in the manifest tells it to.

It needs no calibration data and stays closer to the parent than static int8. It is slower than static int8: only
products of linear layers are computed in 8 bits, and only on a CPU with VNNI. Attention itself stays in float32.
OpenVINO has no such kernel for convolutions. So a model that holds most of its weights in convolutions is refused:
static int8 makes that one faster. torch's dynamic quantization is deprecated, and torch is slower here to begin with.
"""

import logging
from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import read_f32, write_variant

if TYPE_CHECKING:
    import openvino as ov

_LINEAR, _CONVOLUTION = ("MatMul",), ("Convolution", "GroupConvolution")


def int8(job: BuildJob) -> MethodResult:
    """The parent with all weights but those of convolutions in 8 bits. RecipeError when there is no linear layer, or
    convolutions hold more weights than linear layers."""
    model, _ = read_f32(job.parent)
    linear, convolution = weights_of(model, _LINEAR), weights_of(model, _CONVOLUTION)
    if not linear or linear < convolution:
        raise RecipeError(
            f"convolutions hold {convolution:,} weights and linear layers {linear:,}: only these run in dynamic int8",
            field="recipe.scheme",
            mend="int8, which is static",
        )
    import nncf

    nncf.set_log_level(logging.ERROR)
    with job.progress.step("rounding weights to 8 bits"):
        ignored = nncf.IgnoredScope(types=list(_CONVOLUTION), validate=False) if convolution else None
        mode = nncf.CompressWeightsMode.INT8_SYM
        compressed = nncf.compress_weights(model, mode=mode, ignored_scope=ignored)
        what = "linear layers" if convolution else "weights"
        note = f"its parent's {what} in 8 bits, a scale a row; activations rounded to 8 bits as they come"
        return write_variant(job, compressed, "int8-dynamic", note, "nncf")


def weights_of(model: "ov.Model", types: tuple[str, ...]) -> int:
    """How many constant weights the operations of these types hold."""
    weights = (node.input_value(1).get_node() for node in model.get_ops() if node.get_type_name() in types)
    return sum(_elements(node) for node in weights)


def _elements(node: "ov.Node") -> int:
    """The size of a constant, also behind the reshape of a grouped convolution; 0 for any other node."""
    if node.get_type_name() == "Reshape":
        node = node.input_value(0).get_node()
    return int(node.data.size) if node.get_type_name() == "Constant" else 0
