"""Structured pruning of a text model: whole layers and feed-forward neurons go, and what is left is a smaller dense
model that any engine runs faster.

Layers go by Block Influence: one minus the cosine between what enters a layer and what leaves it (Men et al. 2024,
ShortGPT, arXiv 2403.03853). Neurons go by the mean size of their activations times their output weights (after
Muralidharan et al. 2024, Minitron, arXiv 2407.14679). Both look at calibration texts only. What was lost is then
partly learned back from the parent (`variants/methods/text_generation/distillation.py`).
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation import calibration
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_generates,
    computing_dtype,
    load,
    trainable_parent_of,
)
from variants.methods.text_generation.distillation import distil, texts_of
from variants.recipes.recipe import Calibration, Prune

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MULTIPLE = 64  # of the feed-forward width: what kernels divide their work by


def prune(job: BuildJob) -> MethodResult:
    """The parent with fewer layers and narrower feed-forwards, in bfloat16, plain Hugging Face. RecipeError, before
    any work, when more layers are to go than there are or there are too few texts to learn from."""
    assert isinstance(job.recipe, Prune)
    recipe, parent = job.recipe, trainable_parent_of(job)
    assert recipe.calibration is not None
    width = _check(recipe, parent)
    texts = texts_of(recipe.distillation, job.home, job.progress) if recipe.distillation else []
    import torch

    torch.manual_seed(job.seed)
    student, tokenizer = load(parent, "float32")
    prompts = _prompts(job, recipe.calibration, tokenizer)
    dropped = drop_layers(student, prompts, recipe.drop_layers or 0)
    if width:
        narrow(student, prompts, width)
    if recipe.distillation:
        teacher, _ = load(parent, computing_dtype())
        with job.progress.step("learning from its parent", total=recipe.distillation.steps) as step:
            distil(student, teacher, tokenizer, texts, recipe.distillation, job.seed, step)
    student.to(torch.bfloat16)  # type: ignore[arg-type]
    with job.progress.step("checking that it generates"):
        check_generates(student, tokenizer)
    with job.progress.step("writing safetensors"):
        student.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    return MethodResult("bf16", "huggingface", _note(recipe, dropped, width), PACKAGES)


def _check(recipe: Prune, parent: Path) -> int | None:
    """The feed-forward width to come, or None where it stays."""
    config = json.loads((parent / "config.json").read_text())
    layers, before = config["num_hidden_layers"], config["intermediate_size"]
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


def _prompts(job: BuildJob, wanted: Calibration, tokenizer: "PreTrainedTokenizerBase") -> "list[Tensor]":
    """Calibration texts with their labels, int64 [1, tokens] each."""
    import torch

    return [torch.tensor([tokenizer.encode(text)]) for text in calibration.texts_of(job, wanted)]


def drop_layers(model: "PreTrainedModel", prompts: "Sequence[Tensor]", count: int) -> list[int]:
    """Remove the `count` layers of the least influence, in place; which they were, in order."""
    import torch

    influence = block_influence(model, prompts)
    gone = sorted(sorted(range(len(influence)), key=influence.__getitem__)[:count])
    layers = _layers(model)
    kept = [layer for place, layer in enumerate(layers) if place not in gone]
    for place, layer in enumerate(kept):
        layer.self_attn.layer_idx = place
    model.base_model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = [kind for place, kind in enumerate(model.config.layer_types) if place not in gone]
    return gone


def block_influence(model: "PreTrainedModel", prompts: "Sequence[Tensor]") -> list[float]:
    """One minus the mean cosine between each layer's input and output, over all tokens but the first, whose states
    are many times larger than all others."""
    import torch

    watched = [*_layers(model), model.base_model.norm]
    sums, tokens = [0.0] * (len(watched) - 1), 0
    with torch.inference_mode():
        for ids in prompts:
            with _entering(watched) as states:
                model.base_model(input_ids=ids, use_cache=False)
            tokens += ids.shape[1] - 1
            for place, (before, after) in enumerate(pairwise(states)):
                cosine = torch.nn.functional.cosine_similarity(before, after, dim=-1)
                sums[place] += float(cosine[0, 1:].sum())
    return [1 - total / tokens for total in sums]


def narrow(model: "PreTrainedModel", prompts: "Sequence[Tensor]", width: int) -> None:
    """Keep the `width` neurons of each feed-forward that weigh most, in their order, in place."""
    import torch

    downs = [layer.mlp.down_proj for layer in _layers(model)]
    sizes = [torch.zeros(down.in_features) for down in downs]
    with torch.no_grad():
        for ids in prompts:
            with _entering(downs) as seen:
                model.base_model(input_ids=ids, use_cache=False)
            for size, states in zip(sizes, seen, strict=True):
                size += states[0].abs().sum(0)
        for layer, size in zip(_layers(model), sizes, strict=True):
            weight = size * layer.mlp.down_proj.weight.norm(dim=0)
            kept = weight.topk(width).indices.sort().values
            _keep(layer.mlp, kept)
    model.config.intermediate_size = width


def _keep(mlp: Any, kept: "Tensor") -> None:
    import torch

    for name, rows in (("gate_proj", True), ("up_proj", True), ("down_proj", False)):
        linear = getattr(mlp, name)
        weight = linear.weight[kept] if rows else linear.weight[:, kept]
        linear.weight = torch.nn.Parameter(weight.clone())
        linear.out_features, linear.in_features = weight.shape
        if rows and linear.bias is not None:
            linear.bias = torch.nn.Parameter(linear.bias[kept].clone())


@contextmanager
def _entering(modules: "Sequence[Any]") -> "Iterator[list[Tensor]]":
    """What enters each of `modules` inside, in the order in which they are called."""
    entered: list[Tensor] = []
    handles = [module.register_forward_pre_hook(lambda _, given: entered.append(given[0])) for module in modules]
    try:
        yield entered
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
