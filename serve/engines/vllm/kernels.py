"""vLLM's own kernels for CPUs, where it leaves them aside.

vLLM 0.32 computes each RMS norm by eight of torch's operations unless it compiles, though its library has a kernel for
them. And it multiplies by the kernels that it took from SGLang only where the CPU has AMX; they multiply by VNNI and
AVX512_BF16 as well, and quantize activations on the way, each row by its own range: a static range that a model of
others' may bring is not used. docs/decisions.md has how exact and how fast they are.
"""

from unittest.mock import patch

import torch
from vllm.model_executor.kernels.linear.scaled_mm import cpu as int8_kernel
from vllm.model_executor.layers import utils
from vllm.model_executor.layers.layernorm import RMSNorm

Norm = torch.Tensor | tuple[torch.Tensor, torch.Tensor]

takes = utils.check_cpu_sgl_kernel
"""Whether SGLang's kernels take a weight, as vLLM has it."""
MOST_BYTES = 8 * 2**20
"""Of a bfloat16 weight that SGLang's kernel takes, where vLLM says 1 MiB: up to here it was faster without AMX."""
VECTOR = 8
"""Elements that the kernel of the norm takes at a time: widths are multiples of it."""


def use_kernels() -> None:
    """From now on in this process and those forked from it."""
    RMSNorm.forward_cpu = normalise  # type: ignore[method-assign,assignment]
    utils.check_cpu_sgl_kernel = int8_kernel.check_cpu_sgl_kernel = multiplies_without_amx
    if not torch.cpu._is_amx_tile_supported():
        utils._CPU_SGL_GEMM_MAX_WEIGHT_BYTES = MOST_BYTES
    int8_kernel.CPUInt8ScaledMMLinearKernel._apply_weights_sgl = multiply_int8  # type: ignore[method-assign,assignment]


def multiplies_without_amx(n: int, k: int, dtype: torch.dtype) -> bool:
    """Whether they take a weight of shape [n, k]. They are in the one of vLLM's libraries that is loaded where the CPU
    has AVX512_BF16, and no CPU has that without VNNI. Of int8 they pack blocks of 32 outputs, and multiply activations
    in bfloat16; vLLM makes torch's default dtype the model's while it loads."""
    if dtype == torch.int8 and (n % 32 or torch.get_default_dtype() != torch.bfloat16):
        return False
    with patch.object(torch.cpu, "_is_amx_tile_supported", torch.cpu._is_avx512_bf16_supported):
        return takes(n, k, dtype)


def multiply_int8(
    kernel: int8_kernel.CPUInt8ScaledMMLinearKernel,
    layer: torch.nn.Module,
    x: torch.Tensor,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The product of `x` [..., k] with a packed weight of n outputs, [..., n]. As vLLM has it, but for looking up three
    parameters that such a layer has not."""
    if x.dim() != 2:
        return multiply_int8(kernel, layer, x.reshape(-1, x.shape[-1]), bias).reshape(*x.shape[:-1], -1)
    name, scale = kernel.layer_param_names[:2]
    wide_bias = layer.bias_fp32 if bias is not None else None
    product: torch.Tensor = torch.ops._C.int8_scaled_mm_with_quant(
        x, getattr(layer, name), getattr(layer, scale), wide_bias, x.dtype, True
    )
    return product


def normalise(norm: RMSNorm, x: torch.Tensor, residual: torch.Tensor | None = None) -> Norm:
    """The norm of `x`; or of `x` plus `residual`, and that sum, which take the places of both, as vLLM allows. Shapes
    [..., width]. The kernel reads memory without strides, and all of one dtype."""
    weight = norm.weight if norm.has_weight else None
    read = [each for each in (x, residual, weight) if each is not None]
    alike = all(each.is_contiguous() and each.dtype == x.dtype for each in read)
    if not alike or norm.variance_size_override or x.shape[-1] % VECTOR:
        return norm.forward_native(x, residual)
    if residual is None:
        normed = torch.empty_like(x)
        torch.ops._C.rms_norm(normed, x, weight, norm.variance_epsilon)
        return normed
    torch.ops._C.fused_add_rms_norm(x, residual, weight, norm.variance_epsilon)
    return x, residual
