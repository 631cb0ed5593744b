"""bfloat16 for any OpenVINO model: float32 constants are stored as bfloat16, and the model is executed in bfloat16.

OpenVINO can store float16 but not bfloat16. So each large constant becomes a bfloat16 constant and a conversion to
float32, which the CPU plug-in removes when it compiles for bfloat16. It is faster where the CPU multiplies bfloat16
(AVX512-BF16, AMX); elsewhere OpenVINO computes in float32.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import read_f32, write_variant

if TYPE_CHECKING:
    import openvino as ov

_SMALL = 64  # elements: scalars and shapes gain nothing


def bf16(job: BuildJob) -> MethodResult:
    """The parent with constants in bfloat16: half the bytes, executed in bfloat16."""
    model, _ = read_f32(job.parent)
    with job.progress.step("storing constants as bfloat16"):
        store_bf16(model)
        return write_variant(job, model, "bf16", "its parent's weights rounded to bfloat16")


def store_bf16(model: "ov.Model", layers: Collection[str] | None = None) -> None:
    """Replace float32 constants of more than 64 elements, in place in `model`: all, or those of the named layers."""
    import openvino as ov
    from openvino import opset13 as ops

    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        values = node.data
        consumers = node.output(0).get_target_inputs()
        if layers is not None:
            consumers = {each for each in consumers if each.get_node().get_friendly_name() in layers}
        if values.size <= _SMALL or not consumers:
            continue
        narrow = ops.constant(values, ov.Type.bf16, name=f"{node.get_friendly_name()}/bf16")
        wide = ops.convert(narrow, "f32", name=f"{node.get_friendly_name()}/f32")
        for consumer in consumers:
            consumer.replace_source_output(wide.output(0))
