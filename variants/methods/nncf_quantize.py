"""Quantization after training by NNCF, for every model family."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import openvino as ov


def quantized(
    model: "ov.Model", examples: Sequence[Any], prepare: Callable[[Any], Any] | None = None, **options: Any
) -> "ov.Model":
    """`model` in int8, with ranges from all `examples`, each turned into the model's input by `prepare`. The preset is
    mixed: activations with both signs get a zero point, because nothing is retrained. `options` go to
    `nncf.quantize`."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    data, preset = nncf.Dataset(examples, prepare), nncf.QuantizationPreset.MIXED
    int8: ov.Model = nncf.quantize(model, data, subset_size=len(examples), preset=preset, **options)
    return int8
