"""Static int8 for a diffusion model, with ranges from its own trajectories.

A denoiser's inputs change from noise to picture along the way, so ranges from noise alone would be wrong at its end
(PTQ4DM, Shang et al. 2023, arXiv 2211.15736). So calibration draws pictures with the parent and gives NNCF the inputs
of every step. The sampler computes in float32 for every variant.
"""

from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.image_generation.unet import INPUTS
from variants.methods.nncf_quantize import quantized
from variants.methods.openvino_ir import read_f32, write_variant
from variants.recipes.recipe import Quantize
from variants.tasks import Example, Prompt
from variants.vision.diffusion_sampler import Sampler

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent quantized after training, calibrated on the trajectories of the recipe's prompts."""
    model, parent = read_f32(job.parent)
    task, examples = calibration_examples(job, job.recipe.calibration)
    with job.progress.step(f"drawing {len(examples)} pictures"):
        inputs = trajectories(model, Sampler.of_folder(parent.model_path), examples, task.labels)
    with job.progress.step(f"quantizing on {len(inputs)} steps"):
        note = f"static int8 from its parent, ranges from {len(inputs)} steps of {len(examples)} pictures"
        return write_variant(job, quantized(model, inputs), "int8", note, "nncf")


def trajectories(
    model: "ov.Model", sampler: Sampler, examples: list[Example], labels: tuple[str, ...]
) -> "list[dict[str, np.ndarray]]":
    """The inputs of a float32 denoiser while it draws the examples: `INPUTS` by name, one entry a step."""
    import numpy as np
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    inputs: list[dict[str, np.ndarray]] = []

    def denoiser(sample: "np.ndarray", timestep: int, label: int) -> "np.ndarray":
        given = (sample, np.array([timestep], np.float32), np.array([label], np.int64))
        inputs.append(dict(zip(INPUTS, given, strict=True)))
        return np.array(compiled(inputs[-1])[0])

    for example in examples:
        assert isinstance(example.input, Prompt)
        sampler.draw(denoiser, labels.index(example.label), example.input.seed)
    return inputs
