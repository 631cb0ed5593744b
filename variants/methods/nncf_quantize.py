"""Quantization by NNCF after training, as every model family does it."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino as ov


def quantized(
    model: "ov.Model", looked_at: Sequence[Any], prepared: Callable[[Any], Any] | None = None, **how: Any
) -> "ov.Model":
    """`model` in int8, ranges from all of `looked_at`, each as `prepared` gives it to the model. The preset is mixed:
    activations with both signs get a zero of their own, as nothing is retrained. `how` goes to `nncf.quantize`."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    data, preset = nncf.Dataset(looked_at, prepared), nncf.QuantizationPreset.MIXED
    int8: ov.Model = nncf.quantize(model, data, subset_size=len(looked_at), preset=preset, **how)
    return int8


def depthwise(model: "ov.Model") -> list[str]:
    """The names of the convolutions that compute each channel from itself alone: their weights are [channels, 1, 1,
    height, width]."""
    grouped = (op for op in model.get_ops() if op.get_type_name() == "GroupConvolution")
    return [op.get_friendly_name() for op in grouped if op.input(1).get_partial_shape().to_shape()[1:3] == [1, 1]]
