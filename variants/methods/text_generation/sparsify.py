"""Unstructured pruning of a text model: a share of each linear layer's weights becomes zero, except in the head and the
embedding.

**Magnitude** takes the smallest weights (Han et al. 2015, arXiv 1506.02626). **Wanda** takes those of least size times
norm of their input (Sun et al. 2023, arXiv 2306.11695). **SparseGPT** also adjusts the remaining weights to make up for
the removed ones (Frantar and Alistarh 2023, arXiv 2301.00774).

No engine here has a kernel that skips single zeros. So the model is stored dense, and is as large and as fast as its
parent. It shows what accuracy a sparsity costs, for comparison with structured pruning.
"""

from typing import TYPE_CHECKING, Any

from variants.errors import IntegrityError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_and_write,
    computing_dtype,
    linear_layers,
    load,
    parent_of,
)
from variants.methods.text_generation.calibration import oneshot_data
from variants.methods.text_generation.layers import changed_share, check_reach, matrices, outline
from variants.methods.text_generation.loss import Gauge
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_TOLERANCE = 0.005  # by which a layer may have fewer zeros than asked for: rows and blocks are rounded


def magnitude(job: BuildJob[Sparsify]) -> MethodResult:
    """The parent with the smallest weights of each linear layer at zero, in bfloat16, plain Hugging Face."""
    from torch.nn.utils import prune

    parent = parent_of(job)
    shapes = outline(parent)
    check_reach(shapes, matrices(shapes), "magnitude")
    model, tokenizer = load(parent, "bfloat16")
    gauge = Gauge(job, model, tokenizer)
    with job.progress.step("zeroing the smallest weights"):
        for layer in matrices(model).values():
            prune.l1_unstructured(layer, "weight", job.recipe.sparsity)
            prune.remove(layer, "weight")
    return _write(job, model, tokenizer, gauge)


def calibrated(job: BuildJob[Sparsify]) -> MethodResult:
    """The parent with those weights at zero that Wanda or SparseGPT choose on calibration texts, in bfloat16."""
    import torch
    from llmcompressor import oneshot

    parent = parent_of(job)
    shapes = outline(parent)
    check_reach(shapes, linear_layers(shapes), job.recipe.algorithm)
    model, tokenizer = load(parent, computing_dtype())
    gauge = Gauge(job, model, tokenizer)
    data = oneshot_data(job, job.recipe.calibration, tokenizer)
    with job.progress.step(f"pruning by {job.recipe.algorithm}"):
        oneshot(model=model, recipe=[_modifier(job.recipe)], **data)
        model.to(torch.bfloat16)  # type: ignore[arg-type]
    return _write(job, model, tokenizer, gauge, "llmcompressor")


def _modifier(recipe: Sparsify) -> Any:
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

    kind = WandaPruningModifier if recipe.algorithm == "wanda" else SparseGPTModifier
    return kind(sparsity=recipe.sparsity, targets=["Linear"], ignore=["re:.*lm_head"])


def _write(
    job: BuildJob[Sparsify],
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    gauge: Gauge,
    *packages: str,
) -> MethodResult:
    """Check each layer's zeros, and that the model generates; then write it. IntegrityError where zeros are missing."""
    recipe = job.recipe
    layers: dict[str, Any] = matrices(model)
    for name, layer in layers.items():
        share = float((layer.weight == 0).float().mean())
        if share < recipe.sparsity - _TOLERANCE:
            raise IntegrityError(f"{name}: {share:.3f} of its weights are zero, {recipe.sparsity} were to be")
    check_and_write(job, model, tokenizer)
    note = (
        f"{recipe.sparsity:.0%} of each linear layer's weights are zero ({recipe.algorithm}), from its parent; stored "
        f"dense, so neither smaller nor faster; {changed_share(model, layers.values())}"
    )
    return MethodResult("bf16", "huggingface", note, (*PACKAGES, *packages), loss=gauge.loss(model))
