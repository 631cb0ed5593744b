"""Unstructured magnitude pruning of a text classifier: the smallest weights of each matrix become zero, layer by layer,
without training afterwards (Han et al. 2015, arXiv 1506.02626).

The matrices keep their shapes, and are stored and multiplied whole. So the variant is neither smaller nor faster on any
hardware that this project serves on. It is there to be compared with `heads`, which makes shapes smaller.
"""

from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_classification import model as text_classifier
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def magnitude(job: BuildJob[Sparsify]) -> MethodResult:
    """The parent with zeros in its encoder's linear layers; IR and safetensors, executed in float32. RecipeError where
    it has no such layer."""
    model, tokenizer = text_classifier.of_artifact(job.parent)
    assert job.parent is not None
    with job.progress.step("setting the smallest weights to zero"):
        zeros, weights = zero_smallest(model, job.recipe.sparsity)
    if not zeros:
        kind = model.config.model_type
        raise RecipeError(f"no weight of this {kind} would be zero", field="parent", mend="a model with linear layers")
    text_classifier.save(job, model, tokenizer)
    note = f"{zeros:,} of {weights:,} weights of the encoder's linear layers are zero; no smaller and no faster for it"
    return text_classifier.result(note, job.parent.manifest.labels)


def zero_smallest(model: "PreTrainedModel", sparsity: float) -> tuple[int, int]:
    """Set the smallest `sparsity` of each of the encoder's matrices to zero, in place, those of GPT-2's Conv1D too.
    Returns how many weights are zero then, and how many there are."""
    import torch
    from transformers.pytorch_utils import Conv1D

    zeros = weights = 0
    with torch.no_grad():
        for module in model.base_model.modules():
            if isinstance(module, torch.nn.Linear | Conv1D):
                flat = module.weight.view(-1)
                smallest = flat.abs().argsort(stable=True)[: round(sparsity * flat.numel())]
                flat[smallest] = 0
                zeros, weights = zeros + len(smallest), weights + flat.numel()
    return zeros, weights
