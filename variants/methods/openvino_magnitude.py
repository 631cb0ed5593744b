"""Unstructured magnitude pruning of an image model: each layer's smallest weights become zero (Han et al. 2015,
arXiv 1506.02626, without its retraining).

Shapes stay, and OpenVINO has no kernel that skips zeros, so the variant is neither faster nor smaller. It shows what
sparsity costs in accuracy. The zeros survive int8, whose scales are symmetric. Weights are those of the IR, with
BatchNorm folded in, so a small weight there adds little. Depthwise convolutions are left whole: they hold a few per
cent of the weights, nine to a filter, and the model needs each of them.
"""

from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import read_f32, write_variant
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov

_LAYERS = ("Convolution", "MatMul")  # a depthwise convolution is a GroupConvolution in OpenVINO


def magnitude(job: BuildJob[Sparsify]) -> MethodResult:
    """The parent with the recipe's share of each layer's weights set to zero, executed in float32. RecipeError where no
    weight would be zero."""
    model, _ = read_f32(job.parent)
    with job.progress.step("zeroing the smallest weights"):
        zeros, weights = sparsify(model, job.recipe.sparsity)
        if not zeros:
            message = "the parent has no layer whose weights could be zero"
            raise RecipeError(message, field="parent", mend="a model with linear or convolution layers")
        note = f"{zeros:,} of its parent's {weights:,} weights outside depthwise convolutions are zero"
        return write_variant(job, model, "f32", note)


def sparsify(model: "ov.Model", sparsity: float) -> tuple[int, int]:
    """Zero the smallest `sparsity` of each layer's weights, in place in `model`. Returns how many weights are zero
    then, and how many there are."""
    import numpy as np
    from openvino import opset13 as ops

    zeros = weights = 0
    for node in model.get_ordered_ops():
        constant = node.input_value(1).get_node() if node.get_type_name() in _LAYERS else None
        if constant is None or constant.get_type_name() != "Constant":
            continue
        sparse = without_smallest(constant.data, sparsity)
        name = f"{constant.get_friendly_name()}/sparse"
        node.input(1).replace_source_output(ops.constant(sparse, name=name).output(0))
        zeros, weights = zeros + int(np.count_nonzero(sparse == 0)), weights + sparse.size
    return zeros, weights


def without_smallest(values: "np.ndarray", sparsity: float) -> "np.ndarray":
    """A copy in which the `round(size * sparsity)` elements of least magnitude are zero."""
    import numpy as np

    result = values.copy()
    count = round(result.size * sparsity)
    if count:
        result.ravel()[np.argpartition(np.abs(result), count - 1, axis=None)[:count]] = 0
    return result
