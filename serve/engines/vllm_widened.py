"""Integer weights of vLLM's layers, widened once when they are loaded, on CPUs that do not multiply integers exactly.

An x86 CPU without VNNI multiplies 8-bit integers in pairs, whose sum saturates at 16 bits: vLLM's int8 layers answer
wrongly there, and slowly (docs/decisions.md has how wrong). Its int4 layers have no kernel below AVX-512 and fail at
the first request. Widened, both compute what their weights say, by the products of a variant that is not quantized:
fewer bits save bytes on disk there and nothing else.
"""

from collections.abc import Iterable

import torch
from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel
from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel
from vllm.model_executor.layers.quantization.utils.quant_utils import unpack_quantized_values_into_int32
from vllm.model_executor.layers.quantization.utils.w8a8_utils import convert_to_channelwise
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm


def widen_integers() -> None:
    """From now on in this process and those forked from it."""
    CPUWNA16LinearKernel.process_weights_after_loading = widen_int4  # type: ignore[method-assign,assignment]
    CPUWNA16LinearKernel.apply_weights = multiply  # type: ignore[method-assign,assignment]
    CPUInt8ScaledMMLinearKernel.process_weights_after_loading = widen_int8  # type: ignore[method-assign,assignment]
    CPUInt8ScaledMMLinearKernel.apply_weights = multiply  # type: ignore[method-assign,assignment]


def widen_int4(kernel: CPUWNA16LinearKernel, layer: torch.nn.Module) -> None:
    """Puts a plain weight, [outputs, inputs] of the activations' dtype, in place of the packed one, int32 [outputs,
    inputs / 8], its scales [outputs, groups], and its zeros, int32 [outputs / 8, groups]."""
    packed, scales, zeros = kernel._get_weight_params(layer)
    kind = kernel.config.weight_type
    numbers = unpack_quantized_values_into_int32(outputs_first(packed), kind, 1)
    scale = outputs_first(scales).float()
    size = numbers.shape[1] // scale.shape[1]
    if kernel.config.zero_points:
        assert zeros is not None
        offsets = unpack_quantized_values_into_int32(outputs_first(zeros), kind, 0)
        numbers = numbers - offsets.repeat_interleave(size, 1)
    weight = (numbers - kind.bias) * scale.repeat_interleave(size, 1)
    put(layer, (kernel.w_q_name, kernel.w_s_name, kernel.w_zp_name), weight.to(kernel.config.act_type))


def widen_int8(kernel: CPUInt8ScaledMMLinearKernel, layer: torch.nn.Module) -> None:
    """Puts a plain weight, [outputs, inputs] of torch's default dtype, which vLLM sets to the model's, in place of the
    int8 one and its scales, [outputs, 1] or one for each layer that is fused. Activations are not rounded."""
    weight, scales = kernel._get_layer_params(layer)[:2]
    if not kernel.config.is_channelwise and scales.numel() > 1:
        scales = convert_to_channelwise(scales, layer.logical_widths)  # type: ignore[arg-type,assignment]
    wide = weight.float() * scales.float().reshape(-1, 1)
    put(layer, kernel.layer_param_names, wide.to(torch.get_default_dtype()))


def outputs_first(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, which says itself which of its two dimensions is the outputs'."""
    return tensor.data if tensor.output_dim == 0 else tensor.data.t()  # type: ignore[attr-defined]


def put(layer: torch.nn.Module, names: Iterable[str | None], weight: torch.Tensor) -> None:
    for name in names:
        if name is not None and getattr(layer, name, None) is not None:
            delattr(layer, name)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)


def multiply(kernel: object, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return layer.cpu_linear(x, layer.weight, bias)  # type: ignore[operator]
