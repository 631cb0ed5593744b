"""Static int8 for detectors by NNCF: weights and activations in 8 bits, ranges from a task's calibration images.

Nothing is retrained, so the preset is mixed (activations with both signs get their own zero) and biases are corrected.
What turns numbers into boxes is not in the IR but in the engine, and stays exact.
"""

import logging
from typing import TYPE_CHECKING

from variants import tasks
from variants.errors import RecipeError
from variants.letterbox import pixels_of
from variants.methods.base import Job, Made
from variants.methods.classifier import IR, read_ir, write_ir
from variants.recipe import Quantize

if TYPE_CHECKING:
    import numpy as np


def int8(job: Job) -> Made:
    """The parent quantized after training, calibrated on the recipe's images one at a time."""
    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    import nncf

    nncf.set_log_level(logging.ERROR)
    model, parent = read_ir(job.parent)
    detector = parent.manifest.detector
    assert detector is not None
    task = tasks.get(calibration.task, job.home, job.progress)
    try:
        examples = task.examples("calibration", calibration.examples)
    except ValueError as error:
        raise RecipeError(str(error), field="recipe.calibration.examples", mend="ask for fewer") from None
    images = [example.input for example in examples if isinstance(example.input, bytes)]
    if not images:
        raise RecipeError(f"{task.name} has no images", field="recipe.calibration.task", mend="a task of boxes")

    def prepared(image: bytes) -> "np.ndarray":
        return pixels_of(image, detector)[0][None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        quantized = nncf.quantize(
            model,
            nncf.Dataset(images, prepared),
            subset_size=len(images),
            preset=nncf.QuantizationPreset.MIXED,
            model_type=nncf.ModelType.TRANSFORMER if detector.has_queries else None,
        )
        write_ir(quantized, job.out)
    note = f"static int8 from its parent, ranges from {len(images)} {task.name} images"
    return Made("int8", "openvino", note, ("openvino", "nncf"), parent.manifest.labels, None, IR, detector)
