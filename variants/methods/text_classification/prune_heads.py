"""Structured pruning of a text classifier: attention heads and feed-forward neurons are removed. The result is a
smaller dense model, which every engine runs faster.

The importance of a head or neuron is how much the loss would change without it, to first order. That is the gradient of
a mask over its output (Michel et al. 2019, arXiv 1905.10650, for heads; Molchanov et al. 2019, arXiv 1906.10771, for
neurons). The gradient needs no mask: it is the sum of weight times gradient over the columns that read the output.
Each layer loses the same share, so that no layer stays slow. A short training with the parent as teacher then recovers
accuracy.

It works for encoders that are built like BERT (RoBERTa and ELECTRA among them); others are refused.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import recovery_examples
from variants.methods.pruning import check_smaller, keep, parameters
from variants.methods.text_classification import fitting
from variants.methods.text_classification import model as text_classifier
from variants.methods.text_classification.fitting import Encoded
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_JUDGED_ON = 256  # examples that importance is computed on
_BATCH = 16  # of them in one pass
_MULTIPLE = 8  # of the number of neurons, so that vectors are full


class Layer(NamedTuple):
    """The linear layers of one encoder layer; `size` is the width of a head."""

    reads: "tuple[nn.Linear, ...]"  # query, key, value: rows belong to heads
    writes: "nn.Linear"  # columns belong to heads
    up: "nn.Linear"  # rows are neurons
    down: "nn.Linear"  # columns are neurons
    size: int


def heads(job: BuildJob[Prune]) -> MethodResult:
    """The parent without its weakest heads and neurons, trained again; IR and safetensors, executed in float32.
    RecipeError when the parent is not built like BERT, nothing is removed, or the recovery's labels are not its own."""
    import torch

    (teacher, _), (model, tokenizer) = (text_classifier.of_artifact(job.parent) for _ in range(2))
    assert job.recipe.sparsity is not None
    layers_of(model)
    recovery, task, examples = recovery_examples(job)
    torch.manual_seed(job.seed)
    before = parameters(model)
    data = fitting.encoded(examples, task.labels, tokenizer, tokenizer.model_max_length)
    with job.progress.step("judging heads and neurons"):
        narrow(model, data[:_JUDGED_ON], job.recipe.sparsity)
    check_smaller(model, before)
    total = fitting.steps(len(data), recovery.batch, recovery.epochs)
    with job.progress.step("recovering", total=total) as step:
        fitting.fit(model, data, step, recovery, epochs=recovery.epochs, seed=job.seed, teacher=teacher)
    text_classifier.save(job, model, tokenizer)
    note = f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(data)} {task.name} texts"
    return text_classifier.result(note, task.labels)


def layers_of(model: "PreTrainedModel") -> list[Layer]:
    """The encoder's layers. RecipeError when the model has none that are built like BERT's."""
    layers = list(_layers(model))
    if not layers:
        kind = model.config.model_type
        raise RecipeError(f"cannot tell the heads of a {kind}", field="parent", mend="an encoder built as BERT is")
    return layers


def _layers(model: Any) -> Iterator[Layer]:
    for module in model.modules():
        inner: Any = getattr(getattr(module, "attention", None), "self", None)
        if all(hasattr(inner, name) for name in ("query", "key", "value", "attention_head_size")):
            yield Layer(
                (inner.query, inner.key, inner.value),
                module.attention.output.dense,
                module.intermediate.dense,
                module.output.dense,
                inner.attention_head_size,
            )


def narrow(model: "PreTrainedModel", data: Sequence[Encoded], sparsity: float) -> None:
    """Remove the `sparsity` of each layer's heads and neurons that matter least on `data`, in place. At least one head
    of each layer stays. The number of neurons that stay is a multiple of 8, rounded down, and at least 8."""
    layers = layers_of(model)
    for layer, (of_heads, of_neurons) in zip(layers, importance(model, layers, data), strict=True):
        head_count = max(1, round(len(of_heads) * (1 - sparsity)))
        neuron_count = max(_MULTIPLE, int(len(of_neurons) * (1 - sparsity)) // _MULTIPLE * _MULTIPLE)
        cut(layer, strongest(of_heads, head_count), strongest(of_neurons, neuron_count))
    model.config.intermediate_size = layers[0].up.out_features


def importance(
    model: "PreTrainedModel", layers: Sequence[Layer], data: Sequence[Encoded]
) -> "list[tuple[Tensor, Tensor]]":
    """How much the loss depends on each layer's heads and neurons: float32 [heads] and [neurons] a layer."""
    import torch
    from torch.nn import functional

    scores = [
        (torch.zeros(layer.writes.in_features // layer.size), torch.zeros(layer.down.in_features)) for layer in layers
    ]
    for batch in fitting.drawn(data, _BATCH, 1, 0):
        ids, mask, targets = fitting.padded(batch)
        model.zero_grad()
        functional.cross_entropy(text_classifier.logits(model, ids, mask), targets).backward()
        for layer, (of_heads, of_neurons) in zip(layers, scores, strict=True):
            of_heads += mask_gradient(layer.writes).view(-1, layer.size).sum(1).abs()
            of_neurons += mask_gradient(layer.down).abs()
    model.zero_grad()
    return scores


def mask_gradient(linear: "nn.Linear") -> "Tensor":
    """The gradient of a mask over the inputs of `linear`, float32 [in]."""
    assert linear.weight.grad is not None
    return (linear.weight.detach() * linear.weight.grad).sum(0)


def strongest(scores: "Tensor", count: int) -> "Tensor":
    """The positions of the `count` highest, in ascending order, int64."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def cut(layer: Layer, heads: "Tensor", neurons: "Tensor") -> None:
    """Keep these heads and neurons of a layer, in place."""
    import torch

    rows = (heads[:, None] * layer.size + torch.arange(layer.size)).flatten()
    for linear in layer.reads:
        keep(linear, rows=rows)
    keep(layer.writes, columns=rows)
    keep(layer.up, rows=neurons)
    keep(layer.down, columns=neurons)
