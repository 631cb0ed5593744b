"""Fine-tuning an image classifier: pretrained weights, a new head, a task's training split, a few epochs on CPU."""

from pathlib import Path
from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first_examples
from variants.methods.image_classification import efficientnet_lite0, fitting
from variants.methods.image_classification.model import PACKAGES, load_to_train, save
from variants.methods.openvino_ir import IR
from variants.recipes.recipe import Train
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import nn


def train(job: BuildJob[Train]) -> MethodResult:
    """`job.source` fine-tuned on the recipe's task; IR and safetensors, executed in float32."""
    assert job.source is not None
    import torch

    recipe = job.recipe
    task, examples = first_examples(job, recipe.task, "train", recipe.examples, "recipe.examples")
    torch.manual_seed(job.seed)
    model, preprocess = _pretrained(recipe, job.source, task.labels)
    with job.progress.step(f"reading {recipe.examples} images"):
        data = fitting.tensors(examples, task.labels, preprocess)
    steps = recipe.epochs * (len(examples) // recipe.batch)
    with job.progress.step("training", total=steps) as step:
        fitting.fit(model, data, step, recipe, steps=steps, seed=job.seed)
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    note = f"{job.source.name}, fine-tuned on {recipe.examples} examples of {task.name}"
    packages = (*PACKAGES, efficientnet_lite0.PACKAGE) if recipe.architecture != "huggingface" else PACKAGES
    return MethodResult("f32", "openvino", note, packages, task.labels, preprocess, IR)


def _pretrained(recipe: Train, source: Path, labels: tuple[str, ...]) -> "tuple[nn.Module, Preprocess]":
    """The pretrained model with a new head for `labels`, and how its images are prepared."""
    side = recipe.image_size
    if recipe.architecture == "huggingface":
        return load_to_train(source, labels, side)
    return efficientnet_lite0.pretrained(source, side, len(labels)), efficientnet_lite0.preprocess(side)
