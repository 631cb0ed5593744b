"""Static int8 for a diffusion model, with ranges from its own trajectories.

A denoiser's inputs change from noise to picture along the way, so ranges from noise alone would be wrong at its end
(PTQ4DM, Shang et al. 2023, arXiv 2211.15736). So calibration draws pictures with the parent and gives NNCF the inputs
of every step. The sampler computes in float32 for every variant.

NNCF's usual range is the mean over its examples, which suits examples that are alike. Steps are not: the mean timestep
of a trajectory is half of the first one, and all timesteps above it became one. So the timestep stays in float, and
each range reaches from the least to the greatest value of all steps (docs/decisions.md).
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import calibration_examples
from variants.methods.gauge import denoiser, runner
from variants.methods.nncf_quantize import quantized_within
from variants.methods.openvino_ir import read_f32, write_variant
from variants.recipes.recipe import Quantize
from variants.tasks import Example, Prompt
from variants.vision.diffusion_sampler import Sampler

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov


def int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent quantized after training, calibrated on the trajectories of the recipe's prompts."""
    import nncf
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    model, parent = read_f32(job.parent)
    task, examples = calibration_examples(job, job.recipe.calibration)
    with job.progress.step(f"drawing {len(examples)} pictures"):
        inputs = trajectories(model, Sampler.of_folder(parent.model_path), examples, task.labels)
    with job.progress.step(f"quantizing on {len(inputs)} steps"):
        note = f"static int8 from its parent, ranges from {len(inputs)} steps of {len(examples)} pictures"
        ignored = nncf.IgnoredScope(names=timestep_layers(model), validate=False)
        whole = nncf.AdvancedQuantizationParameters(
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
        )
        int8_model, kept = quantized_within(job, model, inputs, ignored_scope=ignored, advanced_parameters=whole)
        return replace(write_variant(job, int8_model, "int8", note, "nncf"), kept=kept)


def timestep_layers(model: "ov.Model") -> list[str]:
    """The names of the operations between the timestep and the first linear layers: those that make its embedding."""
    names: set[str] = set()
    left = [each.get_node() for each in model.input("timestep").get_target_inputs()]
    while left:
        node = left.pop()
        if node.get_type_name() != "MatMul" and node.get_friendly_name() not in names:
            names.add(node.get_friendly_name())
            left += [each.get_node() for output in node.outputs() for each in output.get_target_inputs()]
    return sorted(names)


def trajectories(
    model: "ov.Model", sampler: Sampler, examples: list[Example], labels: tuple[str, ...]
) -> "list[dict[str, np.ndarray]]":
    """The inputs of a float32 denoiser while it draws the examples: `INPUTS` by name, one entry a step."""
    compute, inputs = runner(model, "f32"), []

    def recorded(values: "dict[str, np.ndarray]") -> "np.ndarray":
        inputs.append(values)
        return compute(values)

    for example in examples:
        assert isinstance(example.input, Prompt)
        sampler.draw(denoiser(recorded), labels.index(example.label), example.input.seed)
    return inputs
