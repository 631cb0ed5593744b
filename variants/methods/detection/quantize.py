"""Static int8 for detectors by NNCF: weights and activations in 8 bits, ranges from a task's calibration images.

Nothing is retrained, and biases are corrected layer by layer. The engine, not the IR, turns the output into boxes, so
that part stays exact.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.nncf_quantize import quantized_within
from variants.methods.openvino_ir import read_f32, write_variant
from variants.recipes.recipe import Quantize
from variants.vision.letterbox import pixels_of

if TYPE_CHECKING:
    import numpy as np


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent quantized after training, calibrated on the recipe's images one at a time."""
    import nncf

    model, parent = read_f32(job.parent)
    detector = parent.manifest.detector
    assert detector is not None
    task, examples = calibration_examples(job, job.recipe.calibration)
    images = [example.input for example in examples if isinstance(example.input, bytes)]

    def prepare(image: bytes) -> "np.ndarray":
        return pixels_of(image, detector)[0][None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        kind = nncf.ModelType.TRANSFORMER if detector.has_queries else None
        note = f"static int8 from its parent, ranges from {len(images)} {task.name} images"
        int8_model, kept = quantized_within(job, model, images, prepare, model_type=kind)
        return replace(write_variant(job, int8_model, "int8", note, "nncf"), kept=kept)
