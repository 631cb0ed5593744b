"""bitsandbytes' 4-bit weights in vLLM on a CPU, multiplied by bitsandbytes' own kernel.

`vllm-bnb-plugin` loads such a checkpoint and dequantizes each weight at each step. bitsandbytes has a kernel for CPUs
with AVX512_BF16 that multiplies packed weights in a layout of its own. Here each layer is packed once, after loading,
and the parts of a fused layer become one product. docs/decisions.md has the measurement. The format is that of QLoRA
(Dettmers et al. 2023, arXiv 2305.14314).
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from vllm_bnb_plugin.quantization import fused_moe, linear
from vllm_bnb_plugin.quantization.linear import BitsAndBytesLinearMethod

ROWS = 32
"""Outputs that the kernel computes together. A part of a layer must have a multiple of them."""


def use_packed_kernel() -> None:
    """From now on in this process and those forked from it."""
    linear.calculate_quant_ratio = fused_moe.calculate_quant_ratio = weights_a_byte
    BitsAndBytesLinearMethod.process_weights_after_loading = pack
    BitsAndBytesLinearMethod._apply_4bit_weight = multiply


def weights_a_byte(dtype: torch.dtype) -> int:
    """Two, in whichever dtype the model computes. The plugin derives it from that dtype, and says four for float32, in
    which models compute on a CPU without products of bfloat16. Then no such checkpoint could be loaded."""
    return 2


def pack(method: BitsAndBytesLinearMethod, layer: torch.nn.Module) -> None:
    """Gives a 4-bit `layer` its product. Its weight is uint8 [bytes, 1], with one quantization state a part of a fused
    layer. Where the kernel takes all parts, the weight is packed; elsewhere it is dequantized at each step, to the
    dtype in which the model computes."""
    if method.quant_config.load_in_8bit:
        return
    weight: Any = layer.weight
    states = [state for _, state in sorted(weight.bnb_quant_state.items())]
    bounds = pairwise(weight.bnb_shard_offsets.tolist())
    parts = [(weight.data[start:end], state) for (start, end), state in zip(bounds, states, strict=True)]
    layer.product = packed(layer, parts) if all(map(is_packable, states)) else dequantized(parts)  # type: ignore[assignment]


def is_packable(state: Any) -> bool:
    from bitsandbytes.functional import has_avx512bf16

    outputs, inputs = state.shape
    return bool(has_avx512bf16()) and outputs % ROWS == 0 and inputs % state.blocksize == 0


def packed(layer: torch.nn.Module, parts: list[tuple[torch.Tensor, Any]]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The product by bitsandbytes' kernel. The weight of `layer` becomes uint8 [outputs, inputs / 2]; its scales are
    bfloat16 [inputs / block, outputs]."""
    from bitsandbytes.functional import _convert_weight_packed_for_cpu

    converted = [_convert_weight_packed_for_cpu(weight, state) for weight, state in parts]
    weight = torch.cat([weight for weight, _ in converted])
    scales = torch.cat([state.absmax for _, state in converted], dim=1)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    state = parts[0][1]
    shape = (len(weight), state.shape[1])

    def product(x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = torch.ops.bitsandbytes.gemv_4bit(x, weight, shape, scales, state.code, state.blocksize)
        return made

    return product


def dequantized(parts: list[tuple[torch.Tensor, Any]]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The product with weights that are dequantized for it."""
    from bitsandbytes.functional import dequantize_4bit

    for _, state in parts:
        state.dtype = torch.get_default_dtype()

    def product(x: torch.Tensor) -> torch.Tensor:
        weight = torch.cat([dequantize_4bit(weight, state) for weight, state in parts])
        return torch.nn.functional.linear(x, weight.to(x.dtype))

    return product


def multiply(
    method: BitsAndBytesLinearMethod, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    """The product of `x` [..., inputs] with the weight of `layer`: [..., outputs], in the dtype of `x`."""
    product: torch.Tensor = layer.product(x)  # type: ignore[operator]
    return product if bias is None else product + bias
