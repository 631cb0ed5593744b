"""float16 for image models: the parent's IR with its float32 constants stored in half the bytes, executed in float16
where the CPU can.

Few x86 CPUs compute in float16 (AVX512-FP16, from Sapphire Rapids on); where one does not, OpenVINO widens the
constants again when it loads them and executes in float32: half the bytes on disk and nothing else. The engine's
metadata says which it was (`executes`). Weights beyond 65,504 become infinite in float16, so such a parent is refused.
"""

from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, read_f32, write_ir

if TYPE_CHECKING:
    import openvino as ov


def fp16(job: BuildJob) -> MethodResult:
    """The parent with constants in float16; half the bytes."""
    model, parent = read_f32(job.parent)
    check_range(model)
    with job.progress.step("storing constants as float16"):
        write_ir(model, job.out, fp16=True)
    note = "its parent's weights rounded to float16"
    return MethodResult("f16", "openvino", note, ("openvino",), parent.manifest.labels, parent.manifest.preprocess, IR)


def check_range(model: "ov.Model") -> None:
    """RecipeError when a float32 constant of more than one element does not fit into float16."""
    import numpy as np
    import openvino as ov

    most = float(np.finfo(np.float16).max)
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32 or node.data.size <= 1:
            continue
        if (largest := float(np.abs(node.data).max())) > most:
            raise RecipeError(
                f"{node.get_friendly_name()} holds {largest:g}, float16 ends at {most:g}",
                field="recipe.scheme",
                mend="bf16",
            )
