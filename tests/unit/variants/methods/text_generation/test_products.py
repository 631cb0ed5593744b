"""Layers of bfloat16 are multiplied as float32 where the processor has no products of bfloat16."""

from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from transformers.pytorch_utils import Conv1D

from variants.methods.text_generation import products
from variants.methods.text_generation.products import Float32Products, fast_products


class Noted(TorchFunctionMode):
    """Notes the dtypes of what is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: list[torch.dtype] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.nn.functional.linear, torch.addmm):
            self.dtypes += [each.dtype for each in args if isinstance(each, torch.Tensor)]
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layer", [torch.nn.Linear(8, 4), torch.nn.Linear(8, 4, bias=False), Conv1D(4, 8)])
def test_a_layer_multiplies_float32_and_gives_bfloat16(layer: torch.nn.Module) -> None:
    layer, states = layer.bfloat16(), torch.randn(3, 8, dtype=torch.bfloat16)
    with torch.inference_mode(), Noted() as noted, Float32Products():
        output = layer(states)
    assert set(noted.dtypes) == {torch.float32}
    assert output.dtype == next(layer.parameters()).dtype == torch.bfloat16
    with torch.inference_mode():
        assert torch.equal(output, layer.float()(states.float()).bfloat16())


def test_tensors_may_be_given_by_name() -> None:
    one = torch.ones(2, 2, dtype=torch.bfloat16)
    with Noted(), Float32Products():
        assert torch.equal(torch.nn.functional.linear(input=one, weight=one), 2 * one)


def test_other_dtypes_stay() -> None:
    with Noted() as noted, Float32Products():
        assert torch.nn.Linear(8, 4)(torch.randn(3, 8)).dtype == torch.float32
    assert set(noted.dtypes) == {torch.float32}


@pytest.mark.parametrize(("has_products", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_only_where_the_processor_needs_it(
    monkeypatch: pytest.MonkeyPatch, has_products: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(products, "device", lambda: "cpu")
    monkeypatch.setattr(products, "multiplies_bfloat16", lambda: has_products)
    with Noted() as noted, fast_products():
        torch.nn.Linear(8, 4).bfloat16()(torch.randn(3, 8, dtype=torch.bfloat16))
    assert set(noted.dtypes) == {dtype}
