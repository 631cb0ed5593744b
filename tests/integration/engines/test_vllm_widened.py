"""Integer weights on CPUs that do not multiply them exactly: widened, a layer computes what its weights say."""

import pytest
import torch

from tests.integration.engines.test_vllm_int4 import GROUP, INPUTS, OUTPUTS, packed_layer

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("zero_points", [False, True])
def test_int4_is_widened_to_what_its_weights_say(monkeypatch: pytest.MonkeyPatch, zero_points: bool) -> None:
    from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearLayerConfig
    from vllm.scalar_type import scalar_types

    from serve.engines.vllm_widened import CPUWNA16LinearKernel, multiply, widen_int4

    monkeypatch.setattr(CPUWNA16LinearKernel, "process_weights_after_loading", widen_int4)
    monkeypatch.setattr(CPUWNA16LinearKernel, "apply_weights", multiply)
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-8, 8, (OUTPUTS, INPUTS), generator=draw, dtype=torch.int8)
    scale = (0.01 * torch.rand(OUTPUTS, INPUTS // GROUP, generator=draw)).bfloat16()
    zeros = torch.randint(-8, 8, (OUTPUTS, INPUTS // GROUP), generator=draw, dtype=torch.int8)
    x = torch.randn(8, INPUTS, generator=draw)
    layer, shape = packed_layer(weight, scale), (INPUTS, OUTPUTS)
    if zero_points:
        layer.weight_zero_point = packed_zeros(zeros)
    kind = scalar_types.uint4 if zero_points else scalar_types.uint4b8
    config = MPLinearLayerConfig(shape, shape, kind, torch.float32, GROUP, zero_points=zero_points)
    kernel = CPUWNA16LinearKernel(config, "weight_packed", "weight_scale", "weight_zero_point")
    kernel.process_weights_after_loading(layer)
    found = kernel.apply_weights(layer, x)
    offset = zeros.repeat_interleave(GROUP, 1).float() if zero_points else 0.0
    right = x @ ((weight.float() - offset) * scale.float().repeat_interleave(GROUP, 1)).T
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
    assert not hasattr(layer, "weight_packed")


def packed_zeros(zeros: torch.Tensor) -> torch.nn.Parameter:
    """int32 (outputs / 8, groups) of int8 (outputs, groups) in -8..7, as compressed tensors pack them."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    found = torch.nn.Parameter(pack_to_int32(zeros, 4, packed_dim=0), requires_grad=False)
    found.output_dim = 0  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("channelwise", [True, False])
def test_int8_is_widened_to_what_its_weights_say(monkeypatch: pytest.MonkeyPatch, channelwise: bool) -> None:
    from vllm.model_executor.kernels.linear.scaled_mm.ScaledMMLinearKernel import Int8ScaledMMLinearLayerConfig

    from serve.engines.vllm_widened import CPUInt8ScaledMMLinearKernel, multiply, widen_int8

    monkeypatch.setattr(CPUInt8ScaledMMLinearKernel, "process_weights_after_loading", widen_int8)
    monkeypatch.setattr(CPUInt8ScaledMMLinearKernel, "apply_weights", multiply)
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-127, 128, (OUTPUTS, INPUTS), generator=draw, dtype=torch.int8)
    scale = 0.01 * torch.rand(OUTPUTS if channelwise else 2, 1, generator=draw)
    x = torch.randn(8, INPUTS, generator=draw)
    layer = torch.nn.Module()
    layer.logical_widths = [OUTPUTS // 2, OUTPUTS // 2]  # type: ignore[assignment]
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    layer.weight_scale = torch.nn.Parameter(scale, requires_grad=False)
    config = Int8ScaledMMLinearLayerConfig(
        is_static_input_scheme=False, is_channelwise=channelwise, input_symmetric=True
    )
    names = ("weight", "weight_scale", "input_scale", "input_zero_point", "azp_adj")
    kernel = CPUInt8ScaledMMLinearKernel(config, names)
    kernel.process_weights_after_loading(layer)
    found = kernel.apply_weights(layer, x)
    right = x @ (weight.float() * scale.repeat_interleave(OUTPUTS // len(scale), 0)).T
    torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-4)
