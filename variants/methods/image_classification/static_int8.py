"""Static int8 for image models by NNCF: weights and activations in 8 bits, ranges from calibration images.

The images come from the calibration split of a task and are prepared exactly as in serving. NNCF keeps in float what
does not quantize well. Depthwise convolutions are kept in float too, because each of their sums has few products:
OpenVINO computed them faster in bf16 and f32 than in int8 (docs/decisions.md). `precision` is int8 because nearly all
products are computed in it.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.nncf_quantize import quantized_within
from variants.methods.openvino_ir import read_f32, write_variant
from variants.recipes.recipe import Quantize
from variants.vision.preprocess import pixels_of

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent quantized after training, calibrated on the recipe's images one at a time."""
    import nncf

    model, parent = read_f32(job.parent)
    preprocess = parent.manifest.preprocess
    assert preprocess is not None
    task, examples = calibration_examples(job, job.recipe.calibration)
    images = [example.input for example in examples if isinstance(example.input, bytes)]

    def prepare(image: bytes) -> "np.ndarray":
        return pixels_of(image, preprocess)[None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        # The fast correction of biases takes layers one by one; this one also sees the rounding of earlier layers.
        ignored = nncf.IgnoredScope(names=depthwise(model))
        int8_model, kept = quantized_within(
            job, model, images, prepare, fast_bias_correction=False, ignored_scope=ignored
        )
        note = f"static int8 from its parent, ranges from {len(images)} {task.name} training images"
        return replace(write_variant(job, int8_model, "int8", note, "nncf"), kept=kept)


def depthwise(model: "ov.Model") -> list[str]:
    """The names of the convolutions that compute each channel from that channel alone: their weights are [channels, 1,
    1, height, width]."""
    grouped = (op for op in model.get_ops() if op.get_type_name() == "GroupConvolution")
    return [op.get_friendly_name() for op in grouped if op.input(1).get_partial_shape().to_shape()[1:3] == [1, 1]]
