"""Unstructured magnitude pruning of a text classifier: the smallest weights of each matrix become zero, no more.

The oldest criterion (Han et al. 2015, arXiv 1506.02626), layer by layer, without training afterwards. The matrices keep
their shapes and are stored and multiplied whole, zeros included: neither the bytes on disk nor an answer's time get
less, on any hardware that this project serves on. It is here to be compared with, not to be recommended: what is to be
faster must have smaller shapes (`heads`).
"""

from typing import TYPE_CHECKING

from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_classification import model as text_classifier
from variants.recipes.recipe import Sparsify

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def magnitude(job: BuildJob) -> MethodResult:
    """The parent with zeros in its encoder's linear layers; IR and safetensors, executed in float32."""
    assert isinstance(job.recipe, Sparsify)
    model, tokenizer = text_classifier.of_artifact(job.parent)
    assert job.parent is not None
    with job.progress.step("setting the smallest weights to zero"):
        zeros, weights = thin(model, job.recipe.sparsity)
    text_classifier.save(job, model, tokenizer)
    note = f"{zeros:,} of {weights:,} weights of the encoder's linear layers are zero; no smaller and no faster for it"
    labels = job.parent.manifest.labels
    return MethodResult("f32", "openvino", note, text_classifier.PACKAGES, labels, served=text_classifier.SERVED)


def thin(model: "PreTrainedModel", sparsity: float) -> tuple[int, int]:
    """Set the smallest `sparsity` of each of the encoder's matrices to zero, in place; zeros and weights of them."""
    import torch

    zeros = weights = 0
    with torch.no_grad():
        for module in model.base_model.modules():
            if isinstance(module, torch.nn.Linear):
                flat = module.weight.view(-1)
                smallest = flat.abs().argsort(stable=True)[: round(sparsity * flat.numel())]
                flat[smallest] = 0
                zeros, weights = zeros + len(smallest), weights + flat.numel()
    return zeros, weights
