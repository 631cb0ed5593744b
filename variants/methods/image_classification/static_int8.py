"""Static int8 for image models by NNCF: weights and activations in 8 bits, ranges from calibration images.

The images come from the calibration split of a task, prepared exactly as in serving. What does not quantize well NNCF
keeps in float, and depthwise convolutions are kept there as well: each of their sums is of a few products, and
OpenVINO computed them faster in bf16 and f32 than in int8 where that was measured (docs/decisions.md). `precision` is
int8 because that is what nearly all of the multiplying is executed in.
"""

from typing import TYPE_CHECKING

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.nncf_quantize import depthwise, quantized
from variants.methods.openvino_ir import IR, read_f32, write_ir
from variants.recipes.recipe import Calibration, Quantize
from variants.vision.preprocess import pixels_of

if TYPE_CHECKING:
    import numpy as np


def int8(job: BuildJob) -> MethodResult:
    """The parent quantized after training, calibrated on the recipe's examples one at a time."""
    import nncf

    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    model, parent = read_f32(job.parent)
    preprocess = parent.manifest.preprocess
    assert preprocess is not None
    images = calibration_images(job, calibration)

    def prepared(image: bytes) -> "np.ndarray":
        return pixels_of(image, preprocess)[None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        # The fast correction of biases takes layers one by one; this one sees what earlier layers' rounding does too.
        kept = nncf.IgnoredScope(names=depthwise(model))
        write_ir(quantized(model, images, prepared, fast_bias_correction=False, ignored_scope=kept), job.out)
    note = f"static int8 from its parent, ranges from {len(images)} {calibration.task} training images"
    return MethodResult("int8", "openvino", note, ("openvino", "nncf"), parent.manifest.labels, preprocess, IR)


def calibration_images(job: BuildJob, calibration: Calibration) -> list[bytes]:
    """The encoded images to calibrate on. RecipeError when the task has not that many to look at."""
    task = tasks.get(calibration.task, job.home, job.progress)
    examples = first(task, "calibration", calibration.examples, "recipe.calibration.examples")
    return [example.input for example in examples if isinstance(example.input, bytes)]
