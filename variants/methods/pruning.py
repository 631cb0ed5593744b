"""What methods share that remove parts of a network."""

from typing import TYPE_CHECKING

from variants.errors import RecipeError

if TYPE_CHECKING:
    from torch import Tensor, nn


SETTLING = 1024  # images that BatchNorm's statistics are taken from after the cut


def settle(model: "nn.Module", pixels: "Tensor") -> None:
    """Take BatchNorm's running statistics anew, as means over batches of `pixels`; nothing else changes."""
    import torch
    from torch import nn

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for some in pixels.split(64):
            model(some)
    for norm in norms:
        norm.momentum = 0.1
    model.eval()


def parameters(model: "nn.Module") -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def check_smaller(model: "nn.Module", before: int) -> None:
    """RecipeError where a cut left all of the `before` parameters: the variant would be its parent by another name."""
    if parameters(model) == before:
        mend = "a larger share, of a parent whose layers are wider than 8"
        raise RecipeError(f"it removes nothing: all {before:,} parameters stay", field="recipe.sparsity", mend=mend)
