"""Structured pruning of a text model: whole layers and feed-forward neurons are removed. The result is a smaller dense
model, which every engine runs faster.

The layers of least Block Influence go: one minus the cosine between a layer's input and output (Men et al. 2024,
ShortGPT, arXiv 2403.03853). The neurons go whose activations times output weights are smallest in the mean (after
Muralidharan et al. 2024, Minitron, arXiv 2407.14679). Both are measured on calibration texts. Distillation from the
parent then recovers a part of the loss (`variants/methods/text_generation/distillation.py`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.pruning import keep
from variants.methods.text_generation import calibration
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_and_write,
    computing_dtype,
    load,
    parent_of,
)
from variants.methods.text_generation.distillation import distil, examples_of
from variants.methods.text_generation.layers import outline
from variants.methods.text_generation.loss import Gauge
from variants.recipes.recipe import Prune

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj")
_MULTIPLE = 64  # of the feed-forward width: what kernels divide their work by


def prune(job: BuildJob[Prune]) -> MethodResult:
    """The parent with fewer layers and narrower feed-forwards, in bfloat16, plain Hugging Face. RecipeError, before
    any work, when no layer would be left, or there are too few texts to learn from."""
    recipe, parent = job.recipe, parent_of(job)
    assert recipe.calibration is not None
    width = _check(recipe, outline(parent))
    examples = examples_of(job, recipe.distillation) if recipe.distillation else []
    import torch

    torch.manual_seed(job.seed)
    student, tokenizer = load(parent, "float32")
    gauge = Gauge(job, student, tokenizer)
    prompts = [
        torch.tensor([tokenizer.encode(text)]) for text in calibration.texts_of(job, recipe.calibration, tokenizer)
    ]
    dropped = drop_layers(student, prompts, recipe.drop_layers or 0)
    if width:
        narrow(student, prompts, width)
    if recipe.distillation:
        teacher, _ = load(parent, computing_dtype())
        with job.progress.step("learning from its parent", total=recipe.distillation.steps) as step:
            distil(student, teacher, tokenizer, examples, recipe.distillation, job.seed, step)
    student.to(torch.bfloat16)  # type: ignore[arg-type]
    check_and_write(job, student, tokenizer)
    note = _note(recipe, dropped, width)
    return MethodResult("bf16", "huggingface", note, PACKAGES, loss=gauge.loss(student))


def _check(recipe: Prune, model: "PreTrainedModel") -> int | None:
    """The new feed-forward width, or None where it stays. RecipeError where the recipe does not fit the parent, whose
    outline `model` is."""
    _check_structure(recipe, model)
    layers, before = len(_layers(model)), model.config.intermediate_size
    if (recipe.drop_layers or 0) >= layers:
        mend = f"at most {layers - 1}"
        raise RecipeError(f"the parent has {layers} layers", field="recipe.drop_layers", mend=mend)
    if recipe.width is None:
        return None
    width = round(recipe.width * before / _MULTIPLE) * _MULTIPLE
    if not 0 < width < before:
        raise RecipeError(
            f"{recipe.width} of {before} neurons comes to {width} in steps of {_MULTIPLE}", field="recipe.width"
        )
    return width


def _check_structure(recipe: Prune, model: "PreTrainedModel") -> None:
    """RecipeError where layers or feed-forwards are not built as Llama's are. Other models fuse gate and up (Phi-3),
    have experts, or call their layers otherwise (GPT-2)."""
    import torch

    kind, layers = model.config.model_type, list(getattr(model.base_model, "layers", ()))
    if not layers or not hasattr(model.base_model, "norm") or not all(hasattr(each, "self_attn") for each in layers):
        message = f"the layers of a {kind} are not built as those of a Llama"
        raise RecipeError(message, field="parent", mend="a model built as Llama is")
    linears = [getattr(getattr(each, "mlp", None), name, None) for each in layers for name in _FEED_FORWARD]
    if recipe.width is not None and not all(isinstance(each, torch.nn.Linear) for each in linears):
        message = f"the feed-forwards of a {kind} have no {', '.join(_FEED_FORWARD)}"
        raise RecipeError(message, field="recipe.width", mend="leave width out, or a model built as Llama is")


def drop_layers(model: "PreTrainedModel", prompts: "Sequence[Tensor]", count: int) -> list[int]:
    """Remove the `count` layers of least influence, in place, and return their positions in order. `prompts` are token
    ids, int64 [1, tokens] each."""
    import torch

    influence = block_influence(model, prompts)
    dropped = sorted(sorted(range(len(influence)), key=influence.__getitem__)[:count])
    layers = _layers(model)
    kept = [layer for place, layer in enumerate(layers) if place not in dropped]
    for place, layer in enumerate(kept):
        layer.self_attn.layer_idx = place
    model.base_model.layers = torch.nn.ModuleList(kept)
    for name, values in model.config.to_dict().items():  # one value a layer: layer_types, no_rope_layers, ...
        if "layer" in name and isinstance(values, list) and len(values) == len(layers):
            setattr(model.config, name, [value for place, value in enumerate(values) if place not in dropped])
    model.config.num_hidden_layers = len(kept)
    return dropped


def block_influence(model: "PreTrainedModel", prompts: "Sequence[Tensor]") -> list[float]:
    """One minus the mean cosine between each layer's input and output, over all tokens but the first. The states of the
    first token are many times larger than all others."""
    import torch

    watched = [*_layers(model), model.base_model.norm]
    sums, tokens = [0.0] * (len(watched) - 1), 0
    with torch.inference_mode():
        for ids in prompts:
            with _inputs_of(watched) as states:
                model.base_model(input_ids=ids, use_cache=False)
            tokens += ids.shape[1] - 1
            for place, (before, after) in enumerate(pairwise(states)):
                cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
                sums[place] += float(cosine[0, 1:].sum())
    return [1 - total / tokens for total in sums]


def narrow(model: "PreTrainedModel", prompts: "Sequence[Tensor]", width: int) -> None:
    """Keep the `width` most important neurons of each feed-forward, in their order, in place."""
    import torch

    downs = [layer.mlp.down_proj for layer in _layers(model)]
    sizes = [torch.zeros(down.in_features) for down in downs]
    with torch.no_grad():
        for ids in prompts:
            with _inputs_of(downs) as inputs:
                model.base_model(input_ids=ids, use_cache=False)
            for size, states in zip(sizes, inputs, strict=True):
                size += states[0].abs().sum(0)
        for layer, size in zip(_layers(model), sizes, strict=True):
            weight = size * layer.mlp.down_proj.weight.norm(dim=0)
            kept = weight.topk(width).indices.sort().values
            keep(layer.mlp.gate_proj, rows=kept)
            keep(layer.mlp.up_proj, rows=kept)
            keep(layer.mlp.down_proj, columns=kept)
    model.config.intermediate_size = width


@contextmanager
def _inputs_of(modules: "Sequence[Any]") -> "Iterator[list[Tensor]]":
    """The first input of each of `modules`, in the order in which they are called inside the context."""
    inputs: list[Tensor] = []
    handles = [module.register_forward_pre_hook(lambda _, given: inputs.append(given[0])) for module in modules]
    try:
        yield inputs
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: "PreTrainedModel") -> Any:
    return model.base_model.layers


def _note(recipe: Prune, dropped: Sequence[int], width: int | None) -> str:
    parts = []
    if dropped:
        parts.append(f"without layers {', '.join(map(str, dropped))} of its parent")
    if width:
        parts.append(f"feed-forwards of {width} neurons")
    if recipe.distillation:
        parts.append(f"{recipe.distillation.steps} steps of distillation on {', '.join(recipe.distillation.tasks)}")
    return "; ".join(parts)
