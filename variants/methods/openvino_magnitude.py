"""Unstructured magnitude pruning of an image model: each layer's smallest weights become zero (Han et al. 2015,
arXiv 1506.02626, without its retraining).

The shapes stay, and OpenVINO has no kernel that skips zeros, so it is neither faster nor smaller; it shows what
sparsity costs in accuracy, and zeros survive int8, whose scales are symmetric. Weights are taken as they stand in the
IR, BatchNorm folded in: there a small weight is one that adds little. Depthwise convolutions keep theirs: they hold a
few per cent of the weights, nine to a filter, and each is missed.
"""

from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, read_f32, write_ir
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov

_LAYERS = ("Convolution", "MatMul")  # OpenVINO's names; a depthwise convolution has another


def magnitude(job: BuildJob) -> MethodResult:
    """The parent with the recipe's share of each layer's weights zeroed, executed in float32."""
    assert isinstance(job.recipe, Sparsify)
    model, parent = read_f32(job.parent)
    with job.progress.step("zeroing the smallest weights"):
        zeros, weights = sparsify(model, job.recipe.sparsity)
        write_ir(model, job.out)
    note = f"{zeros:,} of its parent's {weights:,} weights outside depthwise convolutions are zero"
    manifest = parent.manifest
    return MethodResult(
        "f32", "openvino", note, ("openvino",), manifest.labels, manifest.preprocess, IR, manifest.detector
    )


def sparsify(model: "ov.Model", sparsity: float) -> tuple[int, int]:
    """Zero the smallest `sparsity` of each layer's weights, in place in `model`; how many are zero then, and of how
    many."""
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
