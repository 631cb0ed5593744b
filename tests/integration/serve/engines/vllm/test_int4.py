"""vLLM's int4 kernel without AMX: what it multiplies is what the weights say, and it is the one that is taken."""

import pytest
import torch

pytestmark = pytest.mark.integration
GROUP, INPUTS, OUTPUTS = 64, 576, 192


def packed_layer(weight: torch.Tensor, scale: torch.Tensor) -> torch.nn.Module:
    """A layer as vLLM reads it from compressed tensors: `weight` int8 (outputs, inputs) in -8..7, `scale` bfloat16
    (outputs, groups)."""
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32

    layer = torch.nn.Module()
    layer.weight_packed = torch.nn.Parameter(pack_to_int32(weight, 4), requires_grad=False)
    layer.weight_scale = torch.nn.Parameter(scale, requires_grad=False)
    layer.bias = None
    for name, value in {"input_dim": 1, "output_dim": 0, "packed_dim": 1}.items():
        setattr(layer.weight_packed, name, value)
    layer.weight_scale.output_dim = 0
    return layer


@pytest.mark.skipif(not torch.cpu._is_avx512_bf16_supported(), reason="this CPU has no AVX512_BF16")
@pytest.mark.parametrize("rows", [1, 8, 33])
def test_int4_multiplies_by_vnni_and_is_as_exact_as_int8_activations_are(rows: int) -> None:
    from vllm.model_executor.kernels.linear.mixed_precision.MPLinearKernel import MPLinearLayerConfig
    from vllm.scalar_type import scalar_types

    from serve.engines.vllm.int4 import CPUWNA16LinearKernel, use_vnni

    use_vnni()
    draw = torch.Generator().manual_seed(0)
    weight = torch.randint(-8, 8, (OUTPUTS, INPUTS), generator=draw, dtype=torch.int8)
    scale = (0.01 * torch.rand(OUTPUTS, INPUTS // GROUP, generator=draw)).bfloat16()
    x = torch.randn(rows, INPUTS, generator=draw).bfloat16()
    layer, shape = packed_layer(weight, scale), (INPUTS, OUTPUTS)
    config = MPLinearLayerConfig(shape, shape, scalar_types.uint4b8, torch.bfloat16, GROUP, zero_points=False)
    kernel = CPUWNA16LinearKernel(config, "weight_packed", "weight_scale", "weight_zero_point")
    kernel.process_weights_after_loading(layer)
    assert layer.use_w4a8
    product = kernel.apply_weights(layer, x).float()
    right = x.float() @ (weight.float() * scale.float().repeat_interleave(GROUP, 1)).T
    assert product.shape == (rows, OUTPUTS)
    assert (product - right).norm() < 0.02 * right.norm()
