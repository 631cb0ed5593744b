"""Which weights of a text model a method can change, known from the configuration alone.

Most methods change linear layers. GPT-2 keeps its matrices in another class (Conv1D), and a mixture of experts keeps
them in tensors of three dimensions. There such a method would change little or nothing, and file the parent under
another name. So a method asks here before any work, and its note says which share of the weights it changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.errors import IntegrityError, RecipeError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def outline(parent: Path) -> "PreTrainedModel":
    """The model in a Hugging Face folder without weights: shapes alone, on torch's meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        config = AutoConfig.from_pretrained(parent, trust_remote_code=False)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    return model


def matrices(model: "PreTrainedModel") -> "dict[str, nn.Module]":
    """All layers with one weight matrix but the output head, by name: linear ones and GPT-2's Conv1D."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.get_output_embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D) and module is not head
    }


def weights_of(model: "PreTrainedModel") -> int:
    """How many weights the model holds in matrices, without embeddings (of tokens and positions) and output head."""
    import torch

    tables: list[Any] = [each for each in model.modules() if isinstance(each, torch.nn.Embedding)]
    head: Any = model.get_output_embeddings()
    outside = {id(each.weight) for each in [*tables, *([head] if head is not None else [])]}
    return sum(each.numel() for each in model.parameters() if each.dim() > 1 and id(each) not in outside)


def check_reach(model: "PreTrainedModel", layers: "Mapping[str, nn.Module]", method: str) -> None:
    """RecipeError where `layers`, those that a method changes, hold less than half of the weights of `model`."""
    reached, total = sum(map(_size, layers.values())), weights_of(model)
    if not layers or 2 * reached < total:
        kind = model.config.model_type
        message = f"{method} changes linear layers, which hold {reached:,} of the {total:,} weights of this {kind}"
        raise RecipeError(message, field="parent", mend="a model with linear layers, or fp16")


def check_served(model: "PreTrainedModel", unserved: Sequence[str], form: str) -> None:
    """RecipeError where the type of `model` is one of `unserved`: vLLM does not load it in this `form`."""
    kind = model.config.model_type
    if kind in unserved:
        raise RecipeError(f"vLLM does not load a {kind} {form}", field="parent", mend="w8a8 or fp16")


def changed_share(model: "PreTrainedModel", layers: "Iterable[nn.Module]") -> str:
    """For a note: the share of the weights of `model` that `layers` hold, which a method has changed. IntegrityError
    where there is no such layer."""
    changed = sum(map(_size, layers))
    if not changed:
        raise IntegrityError("no layer was changed: the result is its parent")
    return f"{changed / weights_of(model):.0%} of the weights outside of embeddings and head"


def _size(layer: Any) -> int:
    """How many weights a layer has, also where they are packed."""
    return int(layer.in_features * layer.out_features if hasattr(layer, "in_features") else layer.weight.numel())
