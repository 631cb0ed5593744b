"""Pruning a diffusion model: fewer channels, which any engine runs faster, or zeros among its weights, which none here
does.

Channels: torch-pruning finds which layers share a channel (DepGraph, Fang et al. 2023, arXiv 2301.12900) and takes the
weakest by the L2 norm of their group, as Diff-Pruning's baseline does (Fang et al. 2023, arXiv 2305.10924); what is
left learns its parent's velocities. Time and class embeddings stay whole: they cost next to nothing.

Magnitude: the smallest weights of all convolutions and linear layers become zero (Han et al. 2015, arXiv 1506.02626).
OpenVINO computes with them as with any number: neither bytes nor time are saved.
"""

from typing import TYPE_CHECKING, Any

from variants import tasks
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.image_generation import unet
from variants.methods.image_generation.train import SIDE, fit, pictures
from variants.methods.pruning import check_smaller, parameters
from variants.recipes.recipe import Prune, Sparsify
from variants.vision.diffusion_sampler import Sampler

if TYPE_CHECKING:
    from torch import nn


def channels(job: BuildJob) -> MethodResult:
    """The parent without its weakest channels, recovered with the parent as teacher; IR, executed in float32."""
    assert isinstance(job.recipe, Prune)
    assert job.recipe.sparsity is not None
    assert job.recipe.recovery is not None
    recovery = job.recipe.recovery
    task = tasks.get(recovery.task, job.home, job.progress)
    examples = first(task, "train", recovery.examples, "recipe.recovery.examples")
    import torch

    teacher, model = unet.of_artifact(job.parent), unet.of_artifact(job.parent)
    assert job.parent is not None
    torch.manual_seed(job.seed)
    narrow(model, job.recipe.sparsity)
    check_smaller(model, parameters(teacher))
    steps = recovery.epochs * (len(examples) // recovery.batch)
    with job.progress.step("recovering", total=steps) as step:
        fit(
            model, pictures(examples, task.labels), step, steps=steps, batch=recovery.batch,
            learning_rate=recovery.learning_rate, seed=job.seed, teacher=teacher,
        )  # fmt: skip
    with job.progress.step("converting to OpenVINO"):
        unet.save(model, Sampler.of_folder(job.parent.model_path), job.out)
    note = f"{parameters(model):,} of its parent's {parameters(teacher):,} parameters, recovered on {len(examples)}"
    packages = (*unet.PACKAGES, "torch-pruning")
    labels = job.parent.manifest.labels
    return MethodResult("f32", "openvino", f"{note} {task.name} images", packages, labels, None, unet.SERVED)


def magnitude(job: BuildJob) -> MethodResult:
    """The parent with its smallest weights at zero, over all layers together; dense in memory and on disk."""
    assert isinstance(job.recipe, Sparsify)
    model = unet.of_artifact(job.parent)
    assert job.parent is not None
    zeroed = thin(model, job.recipe.sparsity)
    with job.progress.step("converting to OpenVINO"):
        unet.save(model, Sampler.of_folder(job.parent.model_path), job.out)
        model.save_pretrained(job.out / unet.FOLDER)  # type: ignore[operator]
    note = f"{zeroed:,} of its parent's {parameters(model):,} parameters at zero; stored and computed as any number"
    return MethodResult("f32", "openvino", note, unet.PACKAGES, job.parent.manifest.labels, None, unet.SERVED)


def narrow(model: "nn.Module", sparsity: float) -> None:
    """Remove the weakest `sparsity` of every convolution's output channels, in place: as many out of each group that
    GroupNorm normalises together, so widths stay multiples of the groups."""
    import torch
    import torch_pruning

    network: Any = model
    size = SIDE // unet.FOLD
    example = {
        "sample": torch.zeros(1, unet.FOLD**2, size, size),
        "timestep": torch.zeros(1),
        "class_labels": torch.zeros(1, dtype=torch.int64),
    }
    kept = [network.conv_out, network.class_embedding, *network.time_embedding.modules()]
    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=sparsity,
        ignored_layers=kept,
    )
    pruner.step()
    module: Any
    for module in model.modules():  # they remember their widths to check them
        if type(module).__name__ in ("Downsample2D", "Upsample2D"):
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels


def thin(model: "nn.Module", sparsity: float) -> int:
    """Set the smallest `sparsity` of all weights of convolutions and linear layers to zero, in place; how many."""
    import torch
    from torch import nn

    weights = [layer.weight for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    sizes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    count = round(sparsity * len(sizes))
    threshold = sizes.kthvalue(max(count, 1)).values
    with torch.no_grad():
        for weight in weights:
            weight[weight.abs() <= threshold] = 0
    return sum(int((weight == 0).sum()) for weight in weights)
