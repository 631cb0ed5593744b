"""Channel pruning of an image classifier: a dense model with fewer channels, trained again for a short time.

Right after the pruning the model answers by chance. Most of that is BatchNorm: its statistics belong to sums that have
lost terms. So they are computed again from training images first. The published momentum of 0.01 is too slow for the
hundred steps of a recovery, so it becomes torch's own 0.1. Without both, two epochs left the model at chance.
"""

from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import recovery_examples
from variants.methods.image_classification import efficientnet_lite0, fitting
from variants.methods.image_classification.model import PACKAGES, save
from variants.methods.openvino_ir import IR
from variants.methods.pruning import check_smaller, parameters, recompute_batchnorm, remove_channels
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import nn

_MULTIPLE = 8  # of every width, so that vectors are full
_STATISTICS_FROM = 1024  # images


def channels(job: BuildJob[Prune]) -> MethodResult:
    """The parent without its weakest channels, trained again with the parent as teacher; IR and safetensors, executed
    in float32."""
    import torch

    teacher, model = efficientnet_lite0.of_artifact(job.parent), efficientnet_lite0.of_artifact(job.parent)
    assert job.parent is not None
    preprocess = job.parent.manifest.preprocess
    assert preprocess is not None
    assert job.recipe.sparsity is not None
    recovery, task, examples = recovery_examples(job)
    torch.manual_seed(job.seed)
    before = parameters(model)
    narrow(model, job.recipe.sparsity, preprocess.size[0])
    check_smaller(model, before)
    with job.progress.step(f"reading {recovery.examples} images"):
        data = fitting.tensors(examples, task.labels, preprocess)
    recompute_batchnorm(model, data[0][:_STATISTICS_FROM])
    steps = recovery.epochs * (len(examples) // recovery.batch)
    with job.progress.step("recovering", total=steps) as step:
        fitting.fit(model, data, step, recovery, steps=steps, seed=job.seed, teacher=teacher)
    with job.progress.step("converting to OpenVINO"):
        save(model, preprocess, job.out)
    note = (
        f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(examples)} {task.name} images"
    )
    packages = (*PACKAGES, efficientnet_lite0.PACKAGE, "torch-pruning")
    return MethodResult("f32", "openvino", note, packages, task.labels, preprocess, IR)


def narrow(model: "nn.Module", sparsity: float, side: int) -> None:
    """Remove the weakest `sparsity` of every convolution's output channels, in place. The classes stay, and so do 8
    channels of each layer."""
    import torch
    from torch import nn

    heads = [module for module in model.modules() if isinstance(module, nn.Linear)]
    remove_channels(model, torch.zeros(1, 3, side, side), sparsity, heads, _MULTIPLE)
