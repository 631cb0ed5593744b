"""Channel pruning of an image classifier: a dense model with fewer channels, healed by a short training.

torch-pruning finds which layers share a channel (DepGraph, Fang et al. 2023, arXiv 2301.12900) and removes it from all
of them: residual sums, depthwise convolutions and BatchNorms stay consistent. A channel's importance is the L2 norm of
its weights over that group. Widths are rounded down to multiples of 8, so that vectors are full.

Right after the cut the model answers by chance. Most of that is BatchNorm: its statistics belong to sums that have lost
terms. They are taken anew from training images first, and the published momentum of 0.01, too slow for the hundred
steps of a recovery, gives way to torch's own 0.1. Without both, two epochs left the model at chance.
"""

from typing import TYPE_CHECKING

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.image_classification import efficientnet_lite0, fitting
from variants.methods.image_classification.model import PACKAGES, save
from variants.methods.openvino_ir import IR
from variants.methods.pruning import SETTLING, check_smaller, parameters, settle
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import nn

_MULTIPLE = 8


def channels(job: BuildJob) -> MethodResult:
    """The parent without its weakest channels, recovered with the parent as teacher; IR and safetensors, executed in
    float32."""
    assert isinstance(job.recipe, Prune)
    recipe = job.recipe
    assert recipe.sparsity is not None
    assert recipe.recovery is not None
    import torch

    recovery = recipe.recovery
    teacher, model = efficientnet_lite0.of_artifact(job.parent), efficientnet_lite0.of_artifact(job.parent)
    assert job.parent is not None
    labels, preprocess = job.parent.manifest.labels, job.parent.manifest.preprocess
    assert preprocess is not None
    task = tasks.get(recovery.task, job.home, job.progress)
    if task.labels != labels:
        mend = "the task that the parent was trained on"
        raise RecipeError(f"{task.name} has other labels than the parent", field="recipe.recovery.task", mend=mend)
    torch.manual_seed(job.seed)
    before = parameters(model)
    narrow(model, recipe.sparsity, preprocess.size[0])
    check_smaller(model, before)
    with job.progress.step(f"reading {recovery.examples} images"):
        data = fitting.tensors(
            first(task, "train", recovery.examples, "recipe.recovery.examples"), task.labels, preprocess
        )
    settle(model, data[0][:SETTLING])
    steps = recovery.epochs * (len(data[1]) // recovery.batch)
    with job.progress.step("recovering", total=steps) as step:
        fitting.fit(
            model, data, step, steps=steps, batch=recovery.batch, learning_rate=recovery.learning_rate,
            seed=job.seed, teacher=teacher,
        )  # fmt: skip
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    note = (
        f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(data[1])} {task.name} images"
    )
    return MethodResult(
        "f32", "openvino", note, (*PACKAGES, efficientnet_lite0.PACKAGE, "torch-pruning"), labels, preprocess, IR
    )


def narrow(model: "nn.Module", sparsity: float, side: int) -> None:
    """Remove the weakest `sparsity` of every convolution's output channels, in place. The classes stay, and so do 8
    channels of each layer."""
    import torch
    import torch_pruning
    from torch import nn

    pruner = torch_pruning.pruner.BasePruner(
        model,
        torch.zeros(1, 3, side, side),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=sparsity,
        ignored_layers=[module for module in model.modules() if isinstance(module, nn.Linear)],
        round_to=_MULTIPLE,
    )
    pruner.step()
