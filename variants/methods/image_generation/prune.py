"""Pruning a diffusion model: fewer channels, which every engine runs faster, or zeros among its weights, which no
engine here runs faster.

Channels: those of the least L2 norm go, as in Diff-Pruning's baseline (Fang et al. 2023, arXiv 2305.10924). Then the
model learns its parent's velocities. Time and class embeddings stay whole: they cost next to nothing.

Magnitude: the smallest weights of all convolutions and linear layers become zero (Han et al. 2015, arXiv 1506.02626).
OpenVINO computes with zeros as with any number, so neither bytes nor time are saved.
"""

from typing import TYPE_CHECKING, Any

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import recovery_examples
from variants.methods.image_generation import pipeline, unet
from variants.methods.image_generation.train import SIDE, fit, pictures
from variants.methods.pruning import check_smaller, parameters, remove_channels
from variants.recipes.recipe import Prune, Sparsify
from variants.vision.diffusion_pipeline import denoiser_of
from variants.vision.diffusion_sampler import Sampler

if TYPE_CHECKING:
    from torch import nn


def channels(job: BuildJob[Prune]) -> MethodResult:
    """The parent without its weakest channels, trained again with the parent as teacher; IR, executed in float32."""
    import torch

    teacher, model = unet.of_artifact(job.parent), unet.of_artifact(job.parent)
    assert job.parent is not None
    assert job.recipe.sparsity is not None
    recovery, task, examples = recovery_examples(job)
    torch.manual_seed(job.seed)
    narrow(model, job.recipe.sparsity)
    check_smaller(model, parameters(teacher))
    steps = recovery.epochs * (len(examples) // recovery.batch)
    with job.progress.step("recovering", total=steps) as step:
        data = pictures(examples, task.labels)
        fit(model, data, step, recovery, steps=steps, seed=job.seed, teacher=teacher)
    with job.progress.step("converting to OpenVINO"):
        unet.save(model, Sampler.of_folder(job.parent.model_path), job.out)
    note = f"{parameters(model):,} of its parent's {parameters(teacher):,} parameters, recovered on {len(examples)}"
    packages = (*unet.PACKAGES, "torch-pruning")
    return MethodResult("f32", "openvino", f"{note} {task.name} images", packages, task.labels, None, unet.SERVED)


def magnitude(job: BuildJob[Sparsify]) -> MethodResult:
    """The parent with its smallest weights set to zero, over all layers together; dense in memory and on disk. Of a
    pipeline, these are the weights of its denoiser."""
    if pipeline.is_pipeline(job.parent):
        return magnitude_of_pipeline(job)
    model = unet.of_artifact(job.parent)
    assert job.parent is not None
    zeroed = zero_smallest(model, job.recipe.sparsity)
    with job.progress.step("converting to OpenVINO"):
        unet.save(model, Sampler.of_folder(job.parent.model_path), job.out)
        model.save_pretrained(job.out / unet.FOLDER)  # type: ignore[operator]
    note = f"{zeroed:,} of its parent's {parameters(model):,} parameters at zero; stored and computed as any number"
    return MethodResult("f32", "openvino", note, unet.PACKAGES, job.parent.manifest.labels, None, unet.SERVED)


def magnitude_of_pipeline(job: BuildJob[Sparsify]) -> MethodResult:
    dtype, model = pipeline.dtype_of(job.parent), pipeline.of_artifact(job.parent)
    wanted = pipeline.pictures(job, model)
    _, denoiser = denoiser_of(model)
    zeroed = zero_smallest(denoiser, job.recipe.sparsity)
    loss = pipeline.likeness(wanted, pipeline.pictures(job, model))
    pipeline.write(job, model)
    note = (
        f"{zeroed:,} of its denoiser's {parameters(denoiser):,} parameters at zero; stored and computed as any number"
    )
    return MethodResult(pipeline.PRECISIONS[dtype], "huggingface", note, pipeline.PACKAGES, loss=loss)


def narrow(model: "nn.Module", sparsity: float) -> None:
    """Remove the weakest `sparsity` of every convolution's output channels, in place. Equally many go from each group
    that GroupNorm normalises together, so widths stay multiples of the groups."""
    import torch

    network: Any = model
    size = SIDE // unet.FOLD
    example = {
        "sample": torch.zeros(1, unet.FOLD**2, size, size),
        "timestep": torch.zeros(1),
        "class_labels": torch.zeros(1, dtype=torch.int64),
    }
    kept = [network.conv_out, network.class_embedding, *network.time_embedding.modules()]
    remove_channels(model, example, sparsity, kept)
    module: Any
    for module in model.modules():  # these check their inputs against the widths that they store
        if type(module).__name__ in ("Downsample2D", "Upsample2D"):
            module.channels, module.out_channels = module.conv.in_channels, module.conv.out_channels


def zero_smallest(model: "nn.Module", sparsity: float) -> int:
    """Set the smallest `sparsity` of all weights of convolutions and linear layers to zero, in place. Returns how many
    are zero then."""
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
