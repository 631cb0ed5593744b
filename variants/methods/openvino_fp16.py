"""float16 for image models: float32 constants are stored as float16, and the model is executed in float16 where the
CPU can.

Few x86 CPUs compute in float16 (AVX512-FP16, from Sapphire Rapids on). On others OpenVINO widens the constants when it
loads them and executes in float32, so only the bytes on disk are halved. The engine's metadata says which it was
(`executes`). Weights beyond 65,504 become infinite in float16, so such a parent is refused.
"""

from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import read_f32, write_variant

if TYPE_CHECKING:
    import openvino as ov


def fp16(job: BuildJob) -> MethodResult:
    """The parent with constants in float16: half the bytes."""
    model, _ = read_f32(job.parent)
    check_range(model)
    with job.progress.step("storing constants as float16"):
        return write_variant(job, model, "f16", "its parent's weights rounded to float16", fp16=True)


def check_range(model: "ov.Model") -> None:
    """RecipeError when a float32 constant of more than one element does not fit into float16."""
    import numpy as np
    import openvino as ov

    most = float(np.finfo(np.float16).max)
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32 or node.data.size <= 1:
            continue
        if (largest := float(np.abs(node.data).max())) > most:
            message = f"{node.get_friendly_name()} holds {largest:g}, the largest float16 is {most:g}"
            raise RecipeError(message, field="recipe.scheme", mend="bf16")
