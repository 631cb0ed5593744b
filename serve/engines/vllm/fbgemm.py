"""vLLM's products on x86 CPUs that lack AVX-512 or VNNI: by FBGEMM, which torch carries.

Without VNNI a CPU multiplies integers of 8 bits in pairs, and the sum of a pair saturates at 16 bits. vLLM's int8
layers answer wrongly there, and its int4 layers have no kernel below AVX-512. This module uses FBGEMM (Khudia et al.
2021, arXiv 2101.05615). Activations have 8 bits, and each row has its own scale, as in vLLM. torch's own way rounds
activations to 7 bits, which is not exact enough. No pair of weights can saturate: a row where one could is rounded to a
coarser step when it is loaded.

A bfloat16 model that is computed in float32 keeps its weights as float16: half as many bytes are read for each product.
docs/decisions.md has the accuracy and the speed.
"""

import platform
from collections.abc import Iterable

import torch
from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel
from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel
from vllm.model_executor.layers import utils
from vllm.model_executor.layers.quantization.utils.quant_utils import unpack_quantized_values_into_int32
from vllm.model_executor.layers.quantization.utils.w8a8_utils import convert_to_channelwise

from variants.machine import describe

int8_product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default
float16_product = torch.ops.quantized.linear_dynamic_fp16.default
dispatch = utils.dispatch_cpu_unquantized_gemm
INEXACT = 2.0**-16
"""What float16 may change of a weight, as a share of the largest of its row; bfloat16 rounded by up to 2**-9."""
STEPS, MIDDLE = 127, 128
"""Of an activation: from -1 to 1 by so many steps to either side of what stands for 0."""
MOST_PAIR = 127
"""Of two neighbours in a row of weights, their sum to either side: 16 bits hold 255 times that, rounded up."""
LEAST_REACH = 1e-12
"""Of a row, so that one of zeros is not divided by zero."""


def is_needed() -> bool:
    """Whether vLLM's own products would be wrong here (without VNNI), or are not all there (its library for x86 CPUs
    without AVX-512 lacks those of int4)."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    here = describe()
    return x86 and not ("avx512f" in here.flags and here.multiplies_integers)


def use_fbgemm() -> None:
    """From now on in this process and those forked from it."""
    torch.backends.quantized.engine = "fbgemm"
    utils.dispatch_cpu_unquantized_gemm = keep_as_float16
    CPUWNA16LinearKernel.process_weights_after_loading = pack_int4  # type: ignore[method-assign,assignment]
    CPUWNA16LinearKernel.apply_weights = multiply  # type: ignore[method-assign,assignment]
    CPUInt8ScaledMMLinearKernel.process_weights_after_loading = pack_int8  # type: ignore[method-assign,assignment]
    CPUInt8ScaledMMLinearKernel.apply_weights = multiply  # type: ignore[method-assign,assignment]


def keep_as_float16(layer: torch.nn.Module, remove_weight: bool) -> None:
    """Packs a layer's weight, float32 [outputs, inputs], where float16 holds it, as it does what was bfloat16; any
    other is vLLM's."""
    weight = layer.weight
    assert isinstance(weight, torch.Tensor)
    if weight.is_meta or weight.dim() != 2 or weight.dtype != torch.float32 or not held_by_float16(weight):
        dispatch(layer, remove_weight)
        return
    packed = torch.ops.quantized.linear_prepack_fp16(weight.data, None)
    if remove_weight:
        layer.weight = torch.nn.Parameter(torch.empty(0), requires_grad=False)

    def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        product: torch.Tensor = float16_product(x, packed)
        return product if bias is None else product.add_(bias)

    layer.cpu_linear = linear  # type: ignore[assignment]


def held_by_float16(weight: torch.Tensor) -> bool:
    """Whether each row [outputs, inputs] is, but for numbers so small beside its largest that they do not count."""
    change = (weight.half().float() - weight).abs().amax(1)
    return bool((change <= INEXACT * weight.abs().amax(1)).all())


def pack_int4(kernel: CPUWNA16LinearKernel, layer: torch.nn.Module) -> None:
    """Of the packed weight, int32 [outputs, inputs / 8], its scales [outputs, groups], and its zeros, int32
    [outputs / 8, groups]."""
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
    step = weight.abs().amax(1).clamp_min(LEAST_REACH) / 127
    pack(layer, (kernel.w_q_name, kernel.w_s_name, kernel.w_zp_name), weight / step[:, None], step)


def pack_int8(kernel: CPUInt8ScaledMMLinearKernel, layer: torch.nn.Module) -> None:
    """Of the weight, int8 [outputs, inputs], and its scales, [outputs, 1] or one for each layer that is fused."""
    weight, scales = kernel._get_layer_params(layer)[:2]
    if not kernel.config.is_channelwise and scales.numel() > 1:
        scales = convert_to_channelwise(scales, layer.logical_widths)  # type: ignore[arg-type,assignment]
    pack(layer, kernel.layer_param_names, weight.data.float(), scales.data.float().reshape(-1).expand(len(weight)))


def outputs_first(tensor: torch.Tensor) -> torch.Tensor:
    """`tensor`, which says itself which of its two dimensions is the outputs'."""
    return tensor.data if tensor.output_dim == 0 else tensor.data.t()  # type: ignore[attr-defined]


def pack(layer: torch.nn.Module, names: Iterable[str | None], weight: torch.Tensor, scale: torch.Tensor) -> None:
    """Puts numbers of 8 bits, float32 [outputs, inputs], with a scale for each output, [outputs], in place of the
    parameters `names`."""
    for name in names:
        if name is not None and getattr(layer, name, None) is not None:
            delattr(layer, name)
    coarser = largest_pair(weight).clamp_min(MOST_PAIR) / MOST_PAIR
    numbers = (weight / coarser[:, None]).round().to(torch.int8)
    scales, zeros = (scale * coarser).double(), torch.zeros(len(scale), dtype=torch.long)
    quantized = torch._make_per_channel_quantized_tensor(numbers, scales, zeros, 0)
    layer.packed = torch.ops.quantized.linear_prepack(quantized, None)


def largest_pair(weight: torch.Tensor) -> torch.Tensor:
    """By row of [outputs, inputs], the largest sum of two that a CPU adds first, to either side of 0."""
    pairs = torch.nn.functional.pad(weight, (0, weight.shape[1] % 2)).unflatten(1, (-1, 2))
    return torch.maximum(pairs.clamp_min(0).sum(-1), (-pairs).clamp_min(0).sum(-1)).amax(1)


def multiply(kernel: object, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """The product of `x` [..., inputs] with a packed weight, [..., outputs], in the dtype of `x`. FBGEMM rounds all
    rows by one range, so each is brought to -1..1 before: what a row gives does not depend on the others."""
    rows = x.reshape(-1, x.shape[-1]).float()
    reach = rows.abs().amax(-1, keepdim=True).clamp_min_(LEAST_REACH)  # several times as fast as the norm of that name
    product: torch.Tensor = int8_product(rows / reach, 1 / STEPS, MIDDLE, layer.packed).mul_(reach)
    if bias is not None:
        product.add_(bias)
    return product.to(x.dtype).reshape(*x.shape[:-1], -1)
