"""vLLM's fast int4 kernel on CPUs that have VNNI but not AMX.

vLLM 0.32 takes its W4A8 kernel (int4 weights, activations rounded to int8 a token) only where the CPU has AMX.
Elsewhere it widens every weight at every step, which is slower than not quantizing at all. The kernel itself multiplies
by VNNI wherever AMX is missing; docs/decisions.md has how exact and how fast that is. It is in the one of vLLM's
libraries that is loaded where the CPU has AVX512_BF16, and no CPU has that without VNNI. `VLLM_CPU_INT4_W4A8=0` turns
it off, as it does with AMX.
"""

from unittest.mock import patch

import torch
from vllm import envs
from vllm.model_executor.kernels.linear.mixed_precision.cpu import CPUWNA16LinearKernel


def use_vnni() -> None:
    """Lets the kernel be chosen where it is, from now on in this process and those forked from it."""
    wanted = envs.VLLM_CPU_INT4_W4A8 and torch.cpu._is_avx512_bf16_supported()
    if not wanted or torch.cpu._is_amx_tile_supported():
        return
    weights_loaded, multiplied = CPUWNA16LinearKernel.process_weights_after_loading, CPUWNA16LinearKernel.apply_weights

    def process_weights_after_loading(kernel: CPUWNA16LinearKernel, layer: torch.nn.Module) -> None:
        # With other activations the kernel that follows would take AMX for granted.
        amx = kernel.config.act_type == torch.bfloat16
        with patch.object(torch.cpu, "_is_amx_tile_supported", return_value=amx):
            weights_loaded(kernel, layer)
        if layer.use_w4a8:
            weight, scales, zeros = kernel._get_weight_params(layer)
            assert zeros is not None
            layer.packed = weight.data, zeros.data, scales.data  # type: ignore[assignment]

    def apply_weights(
        kernel: CPUWNA16LinearKernel, layer: torch.nn.Module, x: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        # Not vLLM's parameters, about each of whose operations torch asks Python.
        if layer.use_w4a8 and x.dim() == 2:
            product: torch.Tensor = torch.ops._C.int4_scaled_mm_cpu(x, *layer.packed, bias)  # type: ignore[misc]
            return product
        return multiplied(kernel, layer, x, bias)

    CPUWNA16LinearKernel.process_weights_after_loading = process_weights_after_loading  # type: ignore[method-assign,assignment]
    CPUWNA16LinearKernel.apply_weights = apply_weights  # type: ignore[method-assign,assignment]
