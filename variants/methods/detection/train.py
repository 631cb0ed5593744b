"""Training a small detector from random weights, on a task's training split: minutes of one CPU core."""

from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection import network
from variants.methods.detection.fitting import fit
from variants.methods.examples import first_examples
from variants.methods.openvino_ir import IR
from variants.methods.training import check_batch
from variants.recipes.recipe import TrainDetector


def train(job: BuildJob[TrainDetector]) -> MethodResult:
    """A detector of the recipe's task; IR and safetensors, executed in float32. The job's seed draws the first weights.
    The model's source is the data."""
    import torch

    recipe = job.recipe
    detector = network.describe(recipe.image_size)
    with job.progress.step(f"reading {recipe.examples} images"):
        task, examples = first_examples(job, recipe.task, "train", recipe.examples, "recipe.examples")
    check_batch(len(examples), recipe.batch, "recipe.examples")
    torch.manual_seed(job.seed)
    model = network.blank(network.widths_for(recipe.width), len(task.labels))
    with job.progress.step("training") as step:
        fit(model, examples, task.labels, detector, step, recipe, job.seed)
    with job.progress.step("converting to OpenVINO"):
        network.save(model, detector, job.out)
    note = f"trained here on {recipe.examples:,} {task.name}, {recipe.epochs} times"
    return MethodResult("f32", "openvino", note, network.PACKAGES, task.labels, None, IR, detector)
