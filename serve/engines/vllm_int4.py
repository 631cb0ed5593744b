"""vLLM's int4 layers on CPUs without AMX.

vLLM 0.32 takes its W4A8 kernel (int4 weights, activations rounded to int8 a token) only where the CPU has AMX, and
elsewhere widens every weight at every step, which is slower than not quantizing at all. The kernel itself multiplies by
VNNI wherever AMX is missing; docs/decisions.md has how exact and how fast that is. `VLLM_CPU_INT4_W4A8=0` turns it
off, as it does with AMX. A CPU without AVX-512 has neither kernel, and vLLM would fail at the first request: there the
weights are widened once, when they are loaded, and int4 saves bytes on disk alone.
"""

from unittest.mock import patch

import torch
from vllm import envs
from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel
from vllm.model_executor.layers.quantization.utils.quant_utils import unpack_quantized_values_into_int32
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm


def use_what_there_is() -> None:
    """Lets the kernel be chosen where VNNI is, and plain products where no kernel is; from now on in this process and
    those forked from it."""
    if not torch.cpu._is_avx512_supported():
        CPUWNA16LinearKernel.process_weights_after_loading = widen  # type: ignore[method-assign,assignment]
        CPUWNA16LinearKernel.apply_weights = multiply_widened  # type: ignore[method-assign,assignment]
    elif envs.VLLM_CPU_INT4_W4A8 and torch.cpu._is_vnni_supported() and not torch.cpu._is_amx_tile_supported():
        use_vnni()


def use_vnni() -> None:
    weights_loaded = CPUWNA16LinearKernel.process_weights_after_loading

    def process_weights_after_loading(kernel: CPUWNA16LinearKernel, layer: torch.nn.Module) -> None:
        # With other activations the kernel that follows would take AMX for granted.
        amx = kernel.config.act_type == torch.bfloat16
        with patch.object(torch.cpu, "_is_amx_tile_supported", return_value=amx):
            weights_loaded(kernel, layer)

    CPUWNA16LinearKernel.process_weights_after_loading = process_weights_after_loading  # type: ignore[method-assign,assignment]


def widen(kernel: CPUWNA16LinearKernel, layer: torch.nn.Module) -> None:
    """Puts a plain weight, [outputs, inputs] of the activations' dtype, in place of the packed one, int32 [outputs,
    inputs / 8], its scales [outputs, groups], and its zeros, int32 [outputs / 8, groups]."""
    packed, scales, zeros = kernel._get_weight_params(layer)
    kind = kernel.config.weight_type
    numbers = unpack_quantized_values_into_int32(oriented(packed, "output_dim"), kind, 1)
    scale = oriented(scales, "output_dim").float()
    size = numbers.shape[1] // scale.shape[1]
    if kernel.config.zero_points:
        assert zeros is not None
        offsets = unpack_quantized_values_into_int32(oriented(zeros, "output_dim"), kind, 0)
        numbers = numbers - offsets.repeat_interleave(size, 1)
    weight = (numbers - kind.bias) * scale.repeat_interleave(size, 1)
    for name in (kernel.w_q_name, kernel.w_s_name, kernel.w_zp_name):
        if name is not None and getattr(layer, name, None) is not None:
            delattr(layer, name)
    layer.weight = torch.nn.Parameter(weight.to(kernel.config.act_type), requires_grad=False)
    dispatch_cpu_unquantized_gemm(layer, remove_weight=False)


def oriented(tensor: torch.Tensor, dimension: str) -> torch.Tensor:
    """`tensor` with the dimension that it names first."""
    return tensor.data if getattr(tensor, dimension) == 0 else tensor.data.t()


def multiply_widened(
    kernel: CPUWNA16LinearKernel, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
) -> torch.Tensor:
    return layer.cpu_linear(x, layer.weight, bias)  # type: ignore[operator]
