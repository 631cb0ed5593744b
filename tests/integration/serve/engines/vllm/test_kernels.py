"""vLLM's kernels that it leaves aside: they compute what they stand for, and are the ones that are taken."""

import pytest
import torch

pytestmark = pytest.mark.integration
INPUTS, OUTPUTS, WIDE = 576, 192, 3072
multiplies = pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no AVX512_BF16")


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.platforms import current_platform

    from serve.engines.vllm import kernels

    current_platform.import_kernels()
    monkeypatch.setattr(kernels.utils, "check_cpu_sgl_kernel", kernels.takes)
    monkeypatch.setattr(kernels.int8_kernel, "check_cpu_sgl_kernel", kernels.takes)
    monkeypatch.setattr(kernels.utils, "_CPU_SGL_GEMM_MAX_WEIGHT_BYTES", kernels.MOST_BYTES)
    int8 = kernels.int8_kernel.CPUInt8ScaledMMLinearKernel
    monkeypatch.setattr(int8, "_apply_weights_sgl", int8._apply_weights_sgl)
    monkeypatch.setattr(kernels.RMSNorm, "forward_cpu", kernels.RMSNorm.forward_cpu)
    kernels.use_kernels()


def norm_of(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + 1e-5) * weight.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("weight_dtype", [torch.float32, torch.bfloat16, None])
@pytest.mark.parametrize("width", [INPUTS, 12])
@pytest.mark.parametrize("strided", [False, True])
def test_norms_are_what_torch_computes(
    dtype: torch.dtype, weight_dtype: torch.dtype | None, width: int, strided: bool
) -> None:
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.layers.layernorm import RMSNorm

    with set_current_vllm_config(VllmConfig()):
        norm = RMSNorm(width, eps=1e-5, has_weight=weight_dtype is not None, dtype=weight_dtype)
    draw = torch.Generator().manual_seed(0)
    if weight_dtype is not None:
        norm.weight.data = torch.rand(width, generator=draw).to(weight_dtype)
    wide, residual = (torch.randn(2, 5, size, generator=draw).to(dtype) for size in (2 * width, width))
    x = wide[..., :width] if strided else wide[..., :width].contiguous()
    total = x.float() + residual.float()
    with torch.no_grad():
        alone = norm.forward_cpu(x)
        summed, kept = norm.forward_cpu(x.clone(), residual.clone())
    weight = norm.weight if weight_dtype is not None else torch.ones(width)
    step = max(torch.finfo(each).eps for each in (dtype, weight_dtype or dtype))
    assert (alone.dtype, summed.dtype, kept.dtype) == (dtype, dtype, dtype)
    torch.testing.assert_close(alone.float(), norm_of(x, weight), rtol=2 * step, atol=2 * step)
    torch.testing.assert_close(summed.float(), norm_of(total, weight), rtol=2 * step, atol=2 * step)
    torch.testing.assert_close(kept.float(), total, rtol=step, atol=step)


@multiplies
@pytest.mark.parametrize("rows", [1, 8, 33, 300])
@pytest.mark.parametrize("outputs", [OUTPUTS, 48])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_int8_multiplies_without_amx_and_is_as_exact_as_int8_activations_are(
    monkeypatch: pytest.MonkeyPatch, rows: int, outputs: int, dtype: torch.dtype
) -> None:
    from vllm.model_executor.kernels.linear.scaled_mm.cpu import CPUInt8ScaledMMLinearKernel
    from vllm.model_executor.kernels.linear.scaled_mm.ScaledMMLinearKernel import Int8ScaledMMLinearLayerConfig

    monkeypatch.setattr(torch, "get_default_dtype", lambda: dtype)
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (outputs, INPUTS), generator=draw, dtype=torch.int8)
    scale = 0.01 * torch.rand(outputs, 1, generator=draw)
    x = torch.randn(rows, INPUTS, generator=draw).to(dtype)
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.weight_scale = torch.nn.Parameter(scale, requires_grad=False)
    layer.bias = layer.input_scale = layer.input_zero_point = None
    layer.logical_widths = [outputs]
    names = ["weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj"]
    config = Int8ScaledMMLinearLayerConfig(is_static_input_scheme=False, is_channelwise=True, input_symmetric=True)
    kernel = CPUInt8ScaledMMLinearKernel(config, names)
    kernel.process_weights_after_loading(layer)
    taken = dtype == torch.bfloat16 and outputs % 32 == 0
    assert (kernel.linear_method == kernel._apply_weights_sgl) is taken
    assert kernel.apply_weights(layer, x[None]).shape == (1, rows, outputs)
    product = kernel.apply_weights(layer, x).float()
    right = x.float() @ (weight.float() * scale).T
    assert product.shape == (rows, outputs)
    assert (product - right).norm() < 0.02 * right.norm()


@multiplies
@pytest.mark.parametrize("rows", [1, 8, 33, 300])
def test_bf16_multiplies_without_amx(rows: int) -> None:
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    draw = torch.Generator().manual_seed(0)
    layer = torch.nn.Linear(INPUTS, WIDE, bias=False, dtype=torch.bfloat16)
    layer.weight.data = torch.randn(WIDE, INPUTS, generator=draw).bfloat16()
    x, weight = torch.randn(rows, INPUTS, generator=draw).bfloat16(), layer.weight.data.float()
    dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    assert "weight_packed_linear_cpu" in layer.cpu_linear.__code__.co_names
    product = layer.cpu_linear(x, layer.weight, None).float()
    right = x.float() @ weight.T
    assert (product - right).norm() < 0.005 * right.norm()
