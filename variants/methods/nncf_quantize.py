"""Quantization after training by NNCF, for every model family."""

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from variants.errors import RecipeError

if TYPE_CHECKING:
    import openvino as ov


def quantized(
    model: "ov.Model", examples: Sequence[Any], prepare: Callable[[Any], Any] | None = None, **options: Any
) -> "ov.Model":
    """`model` in int8, with ranges from all `examples`, each turned into the model's input by `prepare`. The preset is
    mixed: activations with both signs get a zero point, because nothing is retrained. `options` go to
    `nncf.quantize`. RecipeError where NNCF finds nothing to quantize: the result would be the parent."""
    import nncf

    nncf.set_log_level(logging.ERROR)
    data, preset = nncf.Dataset(examples, prepare), nncf.QuantizationPreset.MIXED
    int8: ov.Model = nncf.quantize(model, data, subset_size=len(examples), preset=preset, **options)
    if not any(node.get_type_name() == "FakeQuantize" for node in int8.get_ops()):
        message = "the model has no layer that is computed in int8"
        raise RecipeError(message, field="parent", mend="a model with linear or convolution layers")
    return int8
