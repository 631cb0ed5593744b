"""Products of bfloat16 on a processor that has none: torch computes them one by one there, in seven times the time of
float32 (docs/decisions.md)."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from variants.machine import device, multiplies_bfloat16


class Float32Products(TorchFunctionMode):
    """While it is entered, layers multiply bfloat16 as float32, and give bfloat16. One layer's weight is widened at a
    time, so a model needs little more memory than before."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        tensors = [each for each in (*args, *named.values()) if isinstance(each, torch.Tensor)]
        if func not in (torch.nn.functional.linear, torch.addmm) or tensors[0].dtype != torch.bfloat16:
            return func(*args, **named)
        wide = {name: widened(value) for name, value in named.items()}
        return func(*map(widened, args), **wide).bfloat16()


def widened(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) else value


def fast_products() -> AbstractContextManager[Any]:
    """`Float32Products` where the processor has no products of bfloat16; nothing elsewhere."""
    return nullcontext() if device() == "cuda" or multiplies_bfloat16() else Float32Products()
