"""What methods share that remove parts of a network."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn


def remove_channels(
    model: "nn.Module", example: Any, sparsity: float, ignored: "Sequence[nn.Module]", multiple: int | None = None
) -> None:
    """Remove the weakest `sparsity` of every layer's output channels, in place, but for the `ignored` layers.

    torch-pruning detects which layers share a channel (DepGraph, Fang et al. 2023, arXiv 2301.12900) and removes it
    from all of them: residual sums, depthwise convolutions and BatchNorms stay consistent. A channel's importance is
    the L2 norm of its weights over that group. Widths are rounded to a `multiple`. `example` is an input of `model`.
    """
    import torch_pruning

    pruner = torch_pruning.pruner.BasePruner(
        model,
        example,
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=sparsity,
        ignored_layers=list(ignored),
        round_to=multiple,
    )
    pruner.step()


def recompute_batchnorm(model: "nn.Module", pixels: "Tensor") -> None:
    """Compute BatchNorm's running statistics again, as means over batches of `pixels`; nothing else changes."""
    import torch
    from torch import nn

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in pixels.split(64):
            model(batch)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def keep(linear: Any, *, rows: "Tensor | None" = None, columns: "Tensor | None" = None) -> None:
    """Keep these outputs (`rows`) or inputs (`columns`) of a linear layer, in place."""
    from torch import nn

    weight = linear.weight.detach()
    if rows is not None:
        weight = weight[rows]
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    if columns is not None:
        weight = weight[:, columns]
    linear.weight = nn.Parameter(weight.clone())
    linear.out_features, linear.in_features = weight.shape


def parameters(model: "nn.Module") -> int:
    """How many numbers the model's parameters hold."""
    return sum(parameter.numel() for parameter in model.parameters())


def check_smaller(model: "nn.Module", before: int) -> None:
    """RecipeError where all of the `before` parameters are left: the variant would be its parent under another
    name."""
    if parameters(model) == before:
        mend = "a larger share, of a parent whose layers are wider than 8"
        raise RecipeError(f"it removes nothing: all {before:,} parameters stay", field="recipe.sparsity", mend=mend)
