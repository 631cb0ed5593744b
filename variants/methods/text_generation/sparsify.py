"""Unstructured pruning of a text model: a share of each linear layer's weights becomes zero; the head and the embedding
stay. By size (Han et al. 2015, arXiv 1506.02626), by size times the norm of what comes in (Wanda, Sun et al. 2023,
arXiv 2306.11695), or with the weights that stay made up for what goes (SparseGPT, Frantar and Alistarh 2023, arXiv
2301.00774).

No engine here has a kernel that skips single zeros, so what is stored is dense: as large as its parent and as fast. It
shows what accuracy a sparsity costs, and what a structured variant has to be compared with.
"""

from typing import TYPE_CHECKING, Any

from variants.errors import IntegrityError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_generates,
    computing_dtype,
    linear_layers,
    load,
    trainable_parent_of,
)
from variants.methods.text_generation.calibration import oneshot_data
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_OFF = 0.005  # how far a layer's share of zeros may be from the recipe's: whole rows and blocks are rounded


def magnitude(job: BuildJob) -> MethodResult:
    """The parent with the smallest weights of each linear layer at zero, in bfloat16, plain Hugging Face."""
    assert isinstance(job.recipe, Sparsify)
    from torch.nn.utils import prune

    model, tokenizer = load(trainable_parent_of(job), "bfloat16")
    with job.progress.step("zeroing the smallest weights"):
        for layer in linear_layers(model).values():
            prune.l1_unstructured(layer, "weight", job.recipe.sparsity)
            prune.remove(layer, "weight")
    return _written(job, job.recipe, model, tokenizer, PACKAGES)


def calibrated(job: BuildJob) -> MethodResult:
    """The parent with the weights at zero that Wanda or SparseGPT choose on calibration texts, in bfloat16."""
    assert isinstance(job.recipe, Sparsify)
    import torch
    from llmcompressor import oneshot

    model, tokenizer = load(trainable_parent_of(job), computing_dtype())
    data = oneshot_data(job, job.recipe.calibration, tokenizer)
    with job.progress.step(f"pruning by {job.recipe.algorithm}"):
        oneshot(model=model, recipe=[_modifier(job.recipe)], **data)
        model.to(torch.bfloat16)  # type: ignore[arg-type]
    return _written(job, job.recipe, model, tokenizer, (*PACKAGES, "llmcompressor"))


def _modifier(recipe: Sparsify) -> Any:
    from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier

    kind = WandaPruningModifier if recipe.algorithm == "wanda" else SparseGPTModifier
    return kind(sparsity=recipe.sparsity, targets=["Linear"], ignore=["re:.*lm_head"])


def _written(
    job: BuildJob,
    recipe: Sparsify,
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    packages: tuple[str, ...],
) -> MethodResult:
    """Checks each layer's zeros, and that it generates, before anything is written. IntegrityError."""
    layers = linear_layers(model)
    zeros = {name: float((layer.weight == 0).float().mean()) for name, layer in layers.items()}
    for name, share in zeros.items():
        if share < recipe.sparsity - _OFF:
            raise IntegrityError(f"{name}: {share:.3f} of its weights are zero, {recipe.sparsity} were to be")
    with job.progress.step("checking that it generates"):
        check_generates(model, tokenizer)
    with job.progress.step("writing safetensors"):
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    note = (
        f"{recipe.sparsity:.0%} of each linear layer's weights are zero ({recipe.algorithm}), from its parent; stored "
        "dense, so neither smaller nor faster"
    )
    return MethodResult("bf16", "huggingface", note, packages)
