"""Static int8 for detectors by NNCF: weights and activations in 8 bits, ranges from a task's calibration images.

Nothing is retrained, and biases are corrected layer by layer. What turns numbers into boxes is not in the IR but in the
engine, and stays exact.
"""

from typing import TYPE_CHECKING

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.nncf_quantize import quantized
from variants.methods.openvino_ir import IR, read_f32, write_ir
from variants.recipes.recipe import Quantize
from variants.vision.letterbox import pixels_of

if TYPE_CHECKING:
    import numpy as np


def int8(job: BuildJob) -> MethodResult:
    """The parent quantized after training, calibrated on the recipe's images one at a time."""
    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    import nncf

    model, parent = read_f32(job.parent)
    detector = parent.manifest.detector
    assert detector is not None
    task = tasks.get(calibration.task, job.home, job.progress)
    examples = first(task, "calibration", calibration.examples, "recipe.calibration.examples")
    images = [example.input for example in examples if isinstance(example.input, bytes)]

    def prepared(image: bytes) -> "np.ndarray":
        return pixels_of(image, detector)[0][None]

    with job.progress.step(f"quantizing on {len(images)} images"):
        kind = nncf.ModelType.TRANSFORMER if detector.has_queries else None
        write_ir(quantized(model, images, prepared, model_type=kind), job.out)
    note = f"static int8 from its parent, ranges from {len(images)} {task.name} images"
    return MethodResult("int8", "openvino", note, ("openvino", "nncf"), parent.manifest.labels, None, IR, detector)
