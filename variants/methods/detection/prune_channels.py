"""Channel pruning of a detector that was trained here: fewer channels in every layer, then a short training.

BatchNorm's statistics are computed again first, as for image classifiers. The recovery learns from the boxes themselves
and needs no teacher.
"""

from variants.methods.base import BuildJob, MethodResult
from variants.methods.detection import network
from variants.methods.detection.fitting import batch_of, fit
from variants.methods.examples import recovery_examples
from variants.methods.openvino_ir import IR
from variants.methods.pruning import check_smaller, parameters, recompute_batchnorm, remove_channels
from variants.methods.training import check_batch
from variants.recipes.recipe import Prune

_MULTIPLE = 8  # of every width, so that vectors are full
_STATISTICS_FROM = 512  # images


def channels(job: BuildJob[Prune]) -> MethodResult:
    """The parent without its weakest channels, trained again; IR and safetensors, executed in float32."""
    import torch

    model, parent = network.of_artifact(job.parent)
    detector = parent.manifest.detector
    assert detector is not None
    assert job.recipe.sparsity is not None
    recovery, task, examples = recovery_examples(job)
    check_batch(len(examples), recovery.batch, "recipe.recovery.examples")
    torch.manual_seed(job.seed)
    before = parameters(model)
    remove_channels(model, torch.zeros(1, 3, *detector.size), job.recipe.sparsity, [model[-1]], _MULTIPLE)
    check_smaller(model, before)
    recompute_batchnorm(model, batch_of(examples[:_STATISTICS_FROM], task.labels, detector).pixels)
    with job.progress.step("recovering") as step:
        fit(model, examples, task.labels, detector, step, recovery, job.seed)
    with job.progress.step("converting to OpenVINO"):
        network.save(model, detector, job.out)
    note = f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(examples):,} {task.name}"
    packages = (*network.PACKAGES, "torch-pruning")
    return MethodResult("f32", "openvino", note, packages, task.labels, None, IR, detector)
