"""A layer that int8 and int4 ruin, in a model that computes the same with it.

Two neurons that are equal feed two columns of great weights that are opposite: they cancel out exactly. But a row's
scale is that of its greatest weight, so rounding takes all other weights of the row for nothing.
"""

from typing import Any

GREAT = 300.0
GROUP = 32


def plant(makers: list[Any], taker: Any) -> None:
    """Make `taker` (a linear or convolution layer) one that rounding ruins. `makers` are the layers whose outputs,
    multiplied or added, are its inputs. In place; each group of 32 inputs gets its pair."""
    import torch

    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for first in range(0, taker.weight.shape[1], GROUP):
            for maker in makers:
                maker.weight[first + 1] = maker.weight[first]
                if maker.bias is not None:
                    maker.bias[first + 1] = maker.bias[first]
            signs = torch.sign(torch.randn(taker.weight[:, first].shape, generator=draw))
            great = GREAT * taker.weight.abs().max() * signs
            taker.weight[:, first], taker.weight[:, first + 1] = great, -great
