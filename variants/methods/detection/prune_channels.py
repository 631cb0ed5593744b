"""Channel pruning of a detector that was trained here: fewer channels in every layer, healed by a short training.

torch-pruning removes each channel from the layers that share it (DepGraph, Fang et al. 2023, arXiv 2301.12900), weakest
L2 norm first; widths stay multiples of 8, so that vectors are full. BatchNorm's statistics are taken anew first, as in
`channels`. Recovery learns from the boxes themselves and needs no teacher.
"""

from typing import TYPE_CHECKING

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection import network
from variants.methods.detection.fitting import batch_of, fit, train_examples
from variants.methods.openvino_ir import IR
from variants.methods.pruning import check_smaller, parameters, settle
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import nn

_MULTIPLE = 8
SETTLING = 512  # images that BatchNorm's statistics are taken from after the cut


def channels(job: BuildJob) -> MethodResult:
    """The parent without its weakest channels, recovered; IR and safetensors, executed in float32."""
    assert isinstance(job.recipe, Prune)
    recipe, recovery = job.recipe, job.recipe.recovery
    assert recipe.sparsity is not None
    assert recovery is not None
    import torch

    model, parent = network.of_artifact(job.parent)
    detector, labels = parent.manifest.detector, parent.manifest.labels
    assert detector is not None
    assert labels is not None
    task = tasks.get(recovery.task, job.home, job.progress)
    if task.labels != labels:
        mend = "the task that the parent was trained on"
        raise RecipeError(f"{task.name} has other labels than the parent", field="recipe.recovery.task", mend=mend)
    examples = train_examples(task, recovery.examples, recovery.batch, "recipe.recovery.examples")
    torch.manual_seed(job.seed)
    before = parameters(model)
    narrow(model, recipe.sparsity, detector.size)
    check_smaller(model, before)
    settle(model, batch_of(examples[:SETTLING], labels, detector).pixels)
    with job.progress.step("recovering") as step:
        fit(
            model, examples, labels, detector, step, epochs=recovery.epochs, batch=recovery.batch,
            learning_rate=recovery.learning_rate, seed=job.seed,
        )  # fmt: skip
    with job.progress.step("converting to OpenVINO"):
        network.save(model, detector, job.out)
    note = f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(examples):,} {task.name}"
    return MethodResult("f32", "openvino", note, (*network.PACKAGES, "torch-pruning"), labels, None, IR, detector)


def narrow(model: "nn.Sequential", sparsity: float, size: tuple[int, int]) -> None:
    """Remove the weakest `sparsity` of every layer's channels, in place; what the last layer says stays, and so do 8
    channels of each."""
    import torch
    import torch_pruning

    pruner = torch_pruning.pruner.BasePruner(
        model,
        torch.zeros(1, 3, *size),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=sparsity,
        ignored_layers=[model[-1]],
        round_to=_MULTIPLE,
    )
    pruner.step()
