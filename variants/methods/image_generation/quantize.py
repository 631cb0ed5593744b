"""Fewer bits for a diffusion model: int8 with ranges from its own trajectories, and bfloat16.

A denoiser's inputs change from noise to picture along the way, so ranges from noise alone would be wrong at its end
(PTQ4DM, Shang et al. 2023, arXiv 2211.15736). Calibration therefore draws pictures with the parent and shows NNCF what
the parent was asked on the way, every step of each. The sampler's arithmetic stays in float32 for every variant.
"""

import shutil
from typing import TYPE_CHECKING

from variants import tasks
from variants.artifacts.store import Artifact
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.image_generation.unet import INPUTS, SERVED
from variants.methods.nncf_quantize import quantized
from variants.methods.openvino_bf16 import store_bf16
from variants.methods.openvino_ir import read_f32, write_ir
from variants.recipes.recipe import Quantize
from variants.tasks import Example, Prompt
from variants.vision.diffusion_sampler import FILE, Sampler

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov

    Asked = dict[str, np.ndarray]


def bf16(job: BuildJob) -> MethodResult:
    """The parent with constants in bfloat16; half the bytes, executed in bfloat16."""
    model, parent = read_f32(job.parent)
    with job.progress.step("storing constants as bfloat16"):
        store_bf16(model)
        return written(model, parent, job, "bf16", "its parent's weights rounded to bfloat16", ("openvino",))


def int8(job: BuildJob) -> MethodResult:
    """The parent quantized after training, calibrated on the way that the recipe's prompts take through it."""
    assert isinstance(job.recipe, Quantize)
    calibration = job.recipe.calibration
    assert calibration is not None
    model, parent = read_f32(job.parent)
    task = tasks.get(calibration.task, job.home, job.progress)
    examples = first(task, "calibration", calibration.examples, "recipe.calibration.examples")
    with job.progress.step(f"drawing {len(examples)} pictures"):
        asked = trajectories(model, Sampler.of_folder(parent.model_path), examples, task.labels)
    with job.progress.step(f"quantizing on {len(asked)} steps"):
        note = f"static int8 from its parent, ranges from {len(asked)} steps of {len(examples)} pictures"
        return written(quantized(model, asked), parent, job, "int8", note, ("openvino", "nncf"))


def trajectories(
    model: "ov.Model", sampler: Sampler, examples: list[Example], labels: tuple[str, ...]
) -> "list[Asked]":
    """What a denoiser in float32 is asked while it draws the examples: `INPUTS` by name, one entry a step."""
    import numpy as np
    import openvino as ov

    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    asked: list[Asked] = []

    def denoiser(sample: "np.ndarray", timestep: int, label: int) -> "np.ndarray":
        inputs = (sample, np.array([timestep], np.float32), np.array([label], np.int64))
        asked.append(dict(zip(INPUTS, inputs, strict=True)))
        return np.array(compiled(asked[-1])[0])

    for example in examples:
        assert isinstance(example.input, Prompt)
        sampler.draw(denoiser, labels.index(example.label), example.input.seed)
    return asked


def written(
    model: "ov.Model", parent: Artifact, job: BuildJob, precision: str, note: str, packages: tuple[str, ...]
) -> MethodResult:
    """The IR below `job.out`, its parent's sampler beside it."""
    write_ir(model, job.out)
    shutil.copyfile(parent.model_path / FILE, job.out / FILE)
    return MethodResult(precision, "openvino", note, packages, parent.manifest.labels, None, SERVED)  # type: ignore[arg-type]
