"""Structured pruning of a text classifier: attention heads and feed-forward neurons go, and a smaller dense model is
left, which any engine runs faster.

A head or a neuron counts for as much as the loss would change without it, to first order: the gradient of a mask over
its output (Michel et al. 2019, arXiv 1905.10650, for heads; Molchanov et al. 2019, arXiv 1906.10771, for neurons). That
gradient needs no mask: it is the sum of weight times gradient over the columns that read this output. Each layer loses
the same share, so that none becomes the one that all wait for. What the cut cost is then healed by a short training
with the parent as teacher.

For encoders that are built as BERT is (RoBERTa and ELECTRA among them); others are refused.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from variants import tasks
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first
from variants.methods.pruning import check_smaller, parameters
from variants.methods.text_classification import fitting
from variants.methods.text_classification import model as text_classifier
from variants.methods.text_classification.fitting import Encoded
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

_LOOKED_AT = 256  # examples that importance is judged on
_TOGETHER = 16  # of them in one pass
_MULTIPLE = 8


class Layer(NamedTuple):
    """The linear layers of one encoder layer; `size` is the width of a head."""

    reads: "tuple[nn.Linear, ...]"  # query, key, value: rows belong to heads
    writes: "nn.Linear"  # columns belong to heads
    up: "nn.Linear"  # rows are neurons
    down: "nn.Linear"  # columns are neurons
    size: int


def heads(job: BuildJob) -> MethodResult:
    """The parent without its weakest heads and neurons, recovered; IR and safetensors, executed in float32. RecipeError
    when the parent is built otherwise, nothing is removed, or the recovery's labels are not its own."""
    assert isinstance(job.recipe, Prune)
    recipe, recovery = job.recipe, job.recipe.recovery
    assert recipe.sparsity is not None
    assert recovery is not None
    import torch

    (teacher, _), (model, tokenizer) = (text_classifier.of_artifact(job.parent) for _ in range(2))
    assert job.parent is not None
    labels = job.parent.manifest.labels
    layers_of(model)
    task = tasks.get(recovery.task, job.home, job.progress)
    examples = first(task, "train", recovery.examples, "recipe.recovery.examples")
    if task.labels != labels:
        mend = "the task that the parent was trained on"
        raise RecipeError(f"{task.name} has other labels than the parent", field="recipe.recovery.task", mend=mend)
    torch.manual_seed(job.seed)
    before = parameters(model)
    data = fitting.encoded(examples, labels, tokenizer, tokenizer.model_max_length)
    with job.progress.step("judging heads and neurons"):
        narrow(model, data[:_LOOKED_AT], recipe.sparsity)
    check_smaller(model, before)
    total = fitting.steps(len(data), recovery.batch, recovery.epochs)
    with job.progress.step("recovering", total=total) as step:
        fitting.fit(
            model, data, step, epochs=recovery.epochs, batch=recovery.batch, learning_rate=recovery.learning_rate,
            seed=job.seed, teacher=teacher,
        )  # fmt: skip
    text_classifier.save(job, model, tokenizer)
    note = f"{parameters(model):,} of its parent's {before:,} parameters, recovered on {len(data)} {task.name} texts"
    return MethodResult("f32", "openvino", note, text_classifier.PACKAGES, labels, served=text_classifier.SERVED)


def layers_of(model: "PreTrainedModel") -> list[Layer]:
    """The encoder's layers. RecipeError when the model has none that are built as BERT's."""
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
    of a layer stays; how many neurons do is rounded down to a multiple of 8, and is never below 8."""
    layers = layers_of(model)
    for layer, (of_heads, of_neurons) in zip(layers, importance(model, layers, data), strict=True):
        few = max(1, round(len(of_heads) * (1 - sparsity)))
        some = max(_MULTIPLE, int(len(of_neurons) * (1 - sparsity)) // _MULTIPLE * _MULTIPLE)
        cut(layer, strongest(of_heads, few), strongest(of_neurons, some))
    model.config.intermediate_size = layers[0].up.out_features


def importance(
    model: "PreTrainedModel", layers: Sequence[Layer], data: Sequence[Encoded]
) -> "list[tuple[Tensor, Tensor]]":
    """Of each layer's heads and neurons: how much the loss hangs on them, float32 [heads] and [neurons]."""
    import torch
    from torch.nn import functional

    scores = [
        (torch.zeros(layer.writes.in_features // layer.size), torch.zeros(layer.down.in_features)) for layer in layers
    ]
    for some in fitting.drawn(data, _TOGETHER, 1, 0):
        ids, mask, targets = fitting.padded(some)
        model.zero_grad()
        functional.cross_entropy(text_classifier.logits(model, ids, mask), targets).backward()
        for layer, (of_heads, of_neurons) in zip(layers, scores, strict=True):
            of_heads += read_by(layer.writes).view(-1, layer.size).sum(1).abs()
            of_neurons += read_by(layer.down).abs()
    model.zero_grad()
    return scores


def read_by(linear: "nn.Linear") -> "Tensor":
    """The gradient of a mask over what `linear` reads, float32 [in]."""
    assert linear.weight.grad is not None
    return (linear.weight.detach() * linear.weight.grad).sum(0)


def strongest(scores: "Tensor", count: int) -> "Tensor":
    """The positions of the `count` highest, in ascending order, int64."""
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def cut(layer: Layer, heads: "Tensor", neurons: "Tensor") -> None:
    """Keep these heads and neurons of a layer, in place."""
    import torch

    wide = (heads[:, None] * layer.size + torch.arange(layer.size)).flatten()
    for linear, kept in (*((linear, wide) for linear in layer.reads), (layer.up, neurons)):
        linear.weight = torch.nn.Parameter(linear.weight.detach()[kept].clone())
        linear.bias = torch.nn.Parameter(linear.bias.detach()[kept].clone())
        linear.out_features = len(kept)
    for linear, kept in ((layer.writes, wide), (layer.down, neurons)):
        linear.weight = torch.nn.Parameter(linear.weight.detach()[:, kept].clone())
        linear.in_features = len(kept)
