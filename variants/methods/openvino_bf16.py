"""bfloat16 for image models: the parent's IR with its float32 constants stored as bfloat16, executed in bfloat16.

OpenVINO offers to store fp16 but not bf16, and bf16 is what CPUs compute in. So each large constant becomes a
bfloat16 constant with a conversion back to float32, which the CPU plug-in folds away when it compiles for bf16.
"""

from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.openvino_ir import IR, read_f32, write_ir

if TYPE_CHECKING:
    import openvino as ov

_SMALL = 64  # elements: scalars and shapes gain nothing


def bf16(job: BuildJob) -> MethodResult:
    """The parent with constants in bfloat16; half the bytes, executed in bfloat16."""
    model, parent = read_f32(job.parent)
    with job.progress.step("storing constants as bfloat16"):
        store_bf16(model)
        write_ir(model, job.out)
    note = "its parent's weights rounded to bfloat16"
    manifest = parent.manifest
    return MethodResult(
        "bf16", "openvino", note, ("openvino",), manifest.labels, manifest.preprocess, IR, manifest.detector
    )


def store_bf16(model: "ov.Model") -> int:
    """Replace float32 constants of more than 64 elements, in place in `model`; how many were replaced."""
    import openvino as ov
    from openvino import opset13 as ops

    replaced = 0
    for node in model.get_ordered_ops():
        if node.get_type_name() != "Constant" or node.get_element_type() != ov.Type.f32:
            continue
        values = node.data
        if values.size <= _SMALL:
            continue
        narrow = ops.constant(values, ov.Type.bf16, name=f"{node.get_friendly_name()}/bf16")
        wide = ops.convert(narrow, "f32", name=f"{node.get_friendly_name()}/f32")
        for consumer in node.output(0).get_target_inputs():
            consumer.replace_source_output(wide.output(0))
        replaced += 1
    return replaced
