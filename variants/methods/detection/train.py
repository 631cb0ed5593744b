"""Training a small detector from nothing, on a task's training split: minutes of one CPU core."""

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection import network
from variants.methods.detection.fitting import fit, train_examples
from variants.methods.openvino_ir import IR
from variants.recipes.recipe import TrainDetector


def train(job: BuildJob) -> MethodResult:
    """A detector of the recipe's task; IR and safetensors, executed in float32. Weights are drawn by the job's seed;
    the model's source is the data."""
    assert isinstance(job.recipe, TrainDetector)
    import torch

    recipe = job.recipe
    task = tasks.get(recipe.task, job.home, job.progress)
    detector = network.describe(recipe.image_size)
    with job.progress.step(f"reading {recipe.examples} images"):
        examples = train_examples(task, recipe.examples, recipe.batch, "recipe.examples")
    torch.manual_seed(job.seed)
    model = network.blank(network.widths_for(recipe.width), len(task.labels))
    with job.progress.step("training") as step:
        fit(
            model, examples, task.labels, detector, step, epochs=recipe.epochs, batch=recipe.batch,
            learning_rate=recipe.learning_rate, seed=job.seed,
        )  # fmt: skip
    with job.progress.step("converting to OpenVINO"):
        network.save(model, detector, job.out)
    note = f"trained here on {recipe.examples:,} {task.name}, {recipe.epochs} times"
    return MethodResult("f32", "openvino", note, network.PACKAGES, task.labels, None, IR, detector)
