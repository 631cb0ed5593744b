"""Static int8 for image models by NNCF: weights and activations in 8 bits, ranges from calibration images.

The images come from the calibration split of a task, prepared exactly as in serving. What does not quantize well NNCF
keeps in float; `precision` is int8 because that is what nearly all of the work is executed in.
"""

import logging
from typing import TYPE_CHECKING

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import Job, Made
from variants.methods.classifier import IR, read_ir, write_ir
from variants.preprocess import pixels_of
from variants.recipe import Calibration, Quantize

if TYPE_CHECKING:
    import numpy as np


def int8(job: Job) -> Made:
    """The parent quantized after training, calibrated on the recipe's examples one at a time."""
    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    import nncf

    nncf.set_log_level(logging.ERROR)
    model, parent = read_ir(job.parent)
    preprocess = parent.manifest.preprocess
    assert preprocess is not None
    images = calibration_images(job, calibration)

    def prepared(image: bytes) -> "np.ndarray":
        return pixels_of(image, preprocess)[None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        # The fast correction of biases takes layers one by one; this one sees what earlier layers' rounding does too.
        quantized = nncf.quantize(
            model,
            nncf.Dataset(images, prepared),
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
            fast_bias_correction=False,
        )
        write_ir(quantized, job.out)
    note = f"static int8 from its parent, ranges from {len(images)} {calibration.task} training images"
    return Made("int8", "openvino", note, ("openvino", "nncf"), parent.manifest.labels, preprocess, IR)


def calibration_images(job: Job, calibration: Calibration) -> list[bytes]:
    """The encoded images to calibrate on. RecipeError when the task has no images, or not that many to look at."""
    task = tasks.get(calibration.task, job.home, job.progress)
    if task.kind not in ("image", "ranked"):
        raise RecipeError(f"{task.name} is not an image task", field="recipe.calibration.task", mend="mnist, imagenet")
    try:
        examples = task.examples("calibration", calibration.examples)
    except ValueError as error:
        raise RecipeError(str(error), field="recipe.calibration.examples", mend="fewer") from None
    return [example.input for example in examples if isinstance(example.input, bytes)]
