"""Products on CPUs without VNNI: about as exact as 8 bits are, never saturated, and float16 only where it holds the
weights."""

import pytest
import torch

from tests.integration.serve.engines.vllm.test_int4 import GROUP, INPUTS, OUTPUTS, packed_layer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="this CPU has no FBGEMM"),
]
INEXACT = 0.02
"""Relative error of a product of normal numbers, most of it the activations'."""


@pytest.fixture(autouse=True)
def fbgemm(monkeypatch: pytest.MonkeyPatch) -> None:
    from vllm.model_executor.layers import utils

    from serve.engines.vllm import fbgemm as ours

    for kernel in (ours.CPUWNA16LinearKernel, ours.CPUInt8ScaledMMLinearKernel):
        for name in ("process_weights_after_loading", "apply_weights"):
            monkeypatch.setattr(kernel, name, getattr(kernel, name))  # to be put back
    monkeypatch.setattr(utils, "dispatch_cpu_unquantized_gemm", utils.dispatch_cpu_unquantized_gemm)
    monkeypatch.setattr(torch.backends.quantized, "engine", torch.backends.quantized.engine)
    ours.use_fbgemm()


def drawn() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def activations(*shape: int) -> torch.Tensor:
    """Rows of very different reach, as they are where nothing normalises them."""
    return torch.randn(*shape, INPUTS, generator=drawn()) * torch.logspace(-3, 2, shape[-1])[:, None]


def assert_near(computed: torch.Tensor, right: torch.Tensor) -> None:
    """Each row by itself."""
    assert computed.shape == right.shape
    assert ((computed - right).norm(dim=-1) < INEXACT * right.norm(dim=-1)).all()


@pytest.mark.parametrize("zero_points", [False, True])
def test_int4_computes_what_its_weights_say(zero_points: bool) -> None:
    from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearLayerConfig
    from vllm.scalar_type import scalar_types

    from serve.engines.vllm.fbgemm import CPUWNA16LinearKernel

    draw = drawn()
    weight = torch.randint(-8, 8, (OUTPUTS, INPUTS), generator=draw, dtype=torch.int8)
    scale = (0.01 * torch.rand(OUTPUTS, INPUTS // GROUP, generator=draw)).bfloat16()
    zeros = torch.randint(-8, 8, (OUTPUTS, INPUTS // GROUP), generator=draw, dtype=torch.int8)
    x = activations(8)
    layer, shape = packed_layer(weight, scale), (INPUTS, OUTPUTS)
    if zero_points:
        layer.weight_zero_point = packed_zeros(zeros)
    kind = scalar_types.uint4 if zero_points else scalar_types.uint4b8
    config = MPLinearLayerConfig(shape, shape, kind, torch.float32, GROUP, zero_points=zero_points)
    kernel = CPUWNA16LinearKernel(config, "weight_packed", "weight_scale", "weight_zero_point")
    kernel.process_weights_after_loading(layer)
    offset = zeros.repeat_interleave(GROUP, 1).float() if zero_points else 0.0
    right = x @ ((weight.float() - offset) * scale.float().repeat_interleave(GROUP, 1)).T
    assert_near(kernel.apply_weights(layer, x), right)
    assert not hasattr(layer, "weight_packed")


def packed_zeros(zeros: torch.Tensor) -> torch.nn.Parameter:
    """int32 (outputs / 8, groups) of int8 (outputs, groups) in -8..7, as compressed tensors pack them."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    packed = torch.nn.Parameter(pack_to_int32(zeros, 4, packed_dim=0), requires_grad=False)
    packed.output_dim = 0
    return packed


def int8_layer(weight: torch.Tensor, scale: torch.Tensor) -> torch.nn.Module:
    layer = torch.nn.Module()
    layer.logical_widths = [len(weight) // 2, len(weight) // 2]
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.weight_scale = torch.nn.Parameter(scale, requires_grad=False)
    return layer


def product(layer: torch.nn.Module, x: torch.Tensor, channelwise: bool, bias: torch.Tensor | None) -> torch.Tensor:
    from vllm.model_executor.kernels.linear.scaled_mm.ScaledMMLinearKernel import Int8ScaledMMLinearLayerConfig

    from serve.engines.vllm.fbgemm import CPUInt8ScaledMMLinearKernel

    config = Int8ScaledMMLinearLayerConfig(
        is_static_input_scheme=False, is_channelwise=channelwise, input_symmetric=True
    )
    names = ("weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj")
    kernel = CPUInt8ScaledMMLinearKernel(config, names)
    kernel.process_weights_after_loading(layer)
    return kernel.apply_weights(layer, x, bias)


@pytest.mark.parametrize(("channelwise", "shape"), [(True, (8,)), (False, (8,)), (True, (1,)), (True, (2, 5))])
def test_int8_computes_what_its_weights_say(channelwise: bool, shape: tuple[int, ...]) -> None:
    draw = drawn()
    weight = torch.randint(-127, 128, (OUTPUTS, INPUTS), generator=draw, dtype=torch.int8)
    scale = 0.01 * torch.rand(OUTPUTS if channelwise else 2, 1, generator=draw)
    x, bias = activations(*shape), torch.randn(OUTPUTS, generator=draw)
    right = x @ (weight.float() * scale.repeat_interleave(OUTPUTS // len(scale), 0)).T
    assert_near(product(int8_layer(weight, scale), x, channelwise, None), right)
    assert_near(product(int8_layer(weight, scale), x, channelwise, bias) - bias, right)


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_no_sum_saturates(rows: int) -> None:
    """Activations as large as can be, each of the sign of its weight; a CPU with VNNI would not saturate anyway."""
    weight = torch.randint(-127, 128, (OUTPUTS, INPUTS), generator=drawn(), dtype=torch.int8)
    x = weight[:rows].sign().float()
    computed = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    right = (x * weight[:rows].float()).sum(-1)
    torch.testing.assert_close(computed[:, :rows].diagonal(), right, rtol=1e-2, atol=0)


def test_a_row_is_rounded_no_more_than_its_pairs_need() -> None:
    """Where no pair could saturate, weights stay as they are."""
    weight = torch.zeros(OUTPUTS, INPUTS, dtype=torch.int8)
    weight[:, 0] = weight[:, 3] = torch.arange(OUTPUTS) - OUTPUTS // 2
    weight[:, 2] = 127 - weight[:, 3].abs()
    weight[:, 4] = -127
    x = torch.zeros(1, INPUTS)
    x[:, 0] = 1
    computed = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    torch.testing.assert_close(computed[0], weight[:, 0].float())
    weight[:, 5] = -1
    computed = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    assert 0 < (computed[0] - weight[:, 0].float()).abs().max() < 1


def test_activations_have_eight_bits() -> None:
    weight = torch.ones(OUTPUTS, INPUTS, dtype=torch.int8)
    x = torch.zeros(1000, INPUTS)
    x[:, 1], x[:, 2] = torch.linspace(-1, 1, 1000), 1.0
    computed = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    assert 250 < len(computed[:, 0].unique()) <= 256


def test_a_row_does_not_depend_on_the_others() -> None:
    weight = torch.randint(-127, 128, (OUTPUTS, INPUTS), generator=drawn(), dtype=torch.int8)
    x = activations(8)
    x[3] = x[3].abs()
    together = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    alone = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x[3:4], True, None)
    torch.testing.assert_close(alone[0], together[3], rtol=0, atol=0)


def test_a_row_of_zeros_stays_zero() -> None:
    weight = torch.full((OUTPUTS, INPUTS), 127, dtype=torch.int8)
    x = torch.stack([torch.zeros(INPUTS), torch.ones(INPUTS)])
    computed = product(int8_layer(weight, torch.ones(OUTPUTS, 1)), x, True, None)
    assert not computed[0].any()
    assert computed.isfinite().all()


def test_what_was_bfloat16_is_kept_as_float16_and_computed_as_it_is() -> None:
    from vllm.model_executor.layers import utils

    draw = drawn()
    layer = torch.nn.Module()
    weight = (0.02 * torch.randn(OUTPUTS, INPUTS, generator=draw)).bfloat16().float()
    weight[0, :2] = torch.tensor([1e-9, 0.0])  # float16 has no such number, and nothing depends on it
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    x, bias = activations(8), torch.randn(OUTPUTS, generator=draw)
    utils.dispatch_cpu_unquantized_gemm(layer, remove_weight=True)
    assert not layer.weight.numel()
    assert layer.cpu_linear.__module__ == "serve.engines.vllm.fbgemm"
    torch.testing.assert_close(layer.cpu_linear(x, layer.weight, None), x @ weight.T, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(layer.cpu_linear(x, layer.weight, bias), x @ weight.T + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "weight",
    [
        torch.full((2, 8), 0.1),
        torch.full((2, 8), 1e6),
        1e-5 * torch.randn(2, 8, generator=torch.Generator().manual_seed(0)),
        torch.zeros(2, 8, dtype=torch.bfloat16),
    ],
)
def test_what_float16_does_not_hold_is_left_to_vllm(weight: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    from serve.engines.vllm import fbgemm

    left: list[bool] = []
    monkeypatch.setattr(fbgemm, "dispatch", lambda layer, remove_weight: left.append(remove_weight))
    layer = torch.nn.Module()
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    fbgemm.keep_as_float16(layer, remove_weight=True)
    assert left == [True]


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        (("avx2",), True),
        (("avx2", "avx_vnni"), True),
        (("avx2", "avx512f"), True),
        (("avx2", "avx512f", "avx512_vnni"), False),
    ],
)
def test_it_is_for_cpus_without_avx512_or_vnni(
    flags: tuple[str, ...], needed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serve.engines.vllm import fbgemm
    from variants import machine

    here = machine.describe().model_copy(update={"flags": flags})
    for module in (machine, fbgemm):
        monkeypatch.setattr(module, "describe", lambda: here)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert fbgemm.is_needed() is needed
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not fbgemm.is_needed()
