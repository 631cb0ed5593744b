"""Unstructured magnitude pruning of a detector: each layer's smallest weights become zero (Han et al. 2015, arXiv
1506.02626, without its retraining).

The shapes stay, and OpenVINO has no kernel that skips zeros: it is neither faster nor smaller, and shows what zeros
alone cost. Weights are taken as they stand in the IR, BatchNorm folded in. Depthwise convolutions keep theirs: they
hold a few per cent of the weights, nine to a filter, and each is missed.
"""

from variants.errors import RecipeError
from variants.methods.base import Job, Made
from variants.methods.classifier import IR, read_ir, write_ir
from variants.methods.magnitude import sparsify
from variants.recipe import Sparsify


def magnitude(job: Job) -> Made:
    """The parent with the recipe's share of each layer's weights zeroed, executed in float32."""
    assert isinstance(job.recipe, Sparsify)
    model, parent = read_ir(job.parent)
    if parent.manifest.precision != "f32":
        mend = "a variant in f32; quantize what was made sparse instead"
        raise RecipeError(f"its parent is in {parent.manifest.precision}", field="parent", mend=mend)
    with job.progress.step("zeroing the smallest weights"):
        zeros, weights = sparsify(model, job.recipe.sparsity, ("Convolution",))
        write_ir(model, job.out)
    note = f"{zeros:,} of its parent's {weights:,} weights outside depthwise convolutions are zero"
    manifest = parent.manifest
    return Made("f32", "openvino", note, ("openvino",), manifest.labels, None, IR, manifest.detector)
