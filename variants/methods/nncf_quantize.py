"""Quantization after training by NNCF, for every model family.

With `keep: auto`, NNCF's accuracy control ranks the layers by how far int8 moves the model's output. It takes them back
one by one until the loss holds. It computes in float32 and the engine in bfloat16, so it gets half of the limit.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from variants.artifacts.loss import Kept, change, lost
from variants.errors import RecipeError
from variants.methods.base import BuildJob
from variants.methods.gauge import Gauge, gauge_of, run_of, runner
from variants.methods.openvino_bf16 import store_bf16
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    import numpy as np
    import openvino as ov

_RANKED_ON = 24
"""Examples that layers are ranked on."""
_LAYERS = ("Convolution", "GroupConvolution", "MatMul")


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
    if not _is_quantized(int8):
        message = "the model has no layer that is computed in int8"
        raise RecipeError(message, field="parent", mend="a model with linear or convolution layers")
    return int8


def quantized_within(
    job: BuildJob[Quantize],
    model: "ov.Model",
    examples: Sequence[Any],
    prepare: Callable[[Any], Any] | None = None,
    **options: Any,
) -> "tuple[ov.Model, Kept | None]":
    """`quantized`, with the layers in bfloat16 that cost most where the recipe has `keep: auto` and the limit needs it.

    RecipeError where the limit does not hold before all layers are kept.
    """
    int8 = quantized(model, examples, prepare, **options)
    if not job.recipe.keeps:
        return int8, None
    assert job.parent is not None
    gauge = gauge_of(job.parent.manifest.task, job)
    assert gauge is not None
    limit = job.recipe.limit(gauge.measure)
    assert limit is not None
    wanted, parent = gauge.of_parent(runner(model, "f32"))
    plain = gauge.figure(runner(int8, "int8"), wanted)
    if lost(gauge.measure, parent, plain) <= limit:
        return int8, None
    with job.progress.step("looking for the layers that cost most"):
        kept = _controlled(model, examples, prepare, gauge, wanted, limit / 2, dict(options))
    layers = _float_layers(kept) - _float_layers(int8)
    if not layers or not _is_quantized(kept):
        raise RecipeError(
            f"int8: {change(gauge.measure, lost(gauge.measure, parent, plain))} on {gauge.examples} calibration "
            f"examples of {gauge.task}, and no layer can stay in int8 within {100 * limit:g} points",
            field="recipe.most_loss",
            mend="allow more, or take bf16",
        )
    store_bf16(kept, layers)
    sizes = _weights(model)
    share = sum(sizes[name] for name in layers) / max(1, sum(sizes.values()))
    return kept, Kept(layers=tuple(sorted(layers)), variant=plain, weights_share=share)


def _controlled(
    model: "ov.Model",
    examples: Sequence[Any],
    prepare: Callable[[Any], Any] | None,
    gauge: Gauge,
    wanted: list[Any],
    most: float,
    options: dict[str, Any],
) -> "ov.Model":
    """The model in int8, without those layers whose int8 loses more than `most` by the gauge.

    NNCF 3.4 ranks by outputs the wrong way round: it takes back first what helps least. It ranks by a figure the right
    way. So all examples but one, on which it ranks, give the nearness of the outputs, and all of them the gauge's
    figure. Layers are not smoothed: NNCF takes a layer's own weights back, and leaves its inputs scaled for others.
    """
    import nncf
    from nncf.quantization.advanced_parameters import AdvancedSmoothQuantParameters

    advanced = options.pop("advanced_parameters", nncf.AdvancedQuantizationParameters())
    advanced.smooth_quant_alphas = AdvancedSmoothQuantParameters(convolution=-1, matmul=-1)
    ranked_on = examples[:: max(1, len(examples) // _RANKED_ON)]
    parent = runner(model, "f32")

    def validate(compiled: "ov.CompiledModel", items: Iterable[Any]) -> tuple[float, list[float]]:
        run, given = run_of(compiled), [_inputs(item, prepare) for item in items]
        near = [-_error(run(each), parent(each)) for each in given]
        return gauge.figure(run, wanted) if len(near) == len(ranked_on) else fmean(near), near

    controlled: ov.Model = nncf.quantize_with_accuracy_control(
        model,
        nncf.Dataset(examples, prepare),
        nncf.Dataset(ranked_on, prepare),
        validate,
        max_drop=most,
        subset_size=len(examples),
        preset=nncf.QuantizationPreset.MIXED,
        advanced_quantization_parameters=advanced,
        advanced_accuracy_restorer_parameters=nncf.AdvancedAccuracyRestorerParameters(
            ranking_subset_size=len(ranked_on) - 1, num_ranking_workers=1
        ),
        **options,
    )
    return controlled


def _error(output: "np.ndarray", wanted: "np.ndarray") -> float:
    """The mean squared error, normalised by the mean square of what is wanted."""
    difference = output - wanted
    return float((difference * difference).sum() / max((wanted * wanted).sum(), 1e-12))


def _inputs(example: Any, prepare: Callable[[Any], Any] | None) -> Any:
    """A pass's inputs, by name or in order."""
    prepared = prepare(example) if prepare else example
    return prepared if isinstance(prepared, dict) else [prepared]


def _is_quantized(model: "ov.Model") -> bool:
    return any(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _float_layers(model: "ov.Model") -> set[str]:
    """The names of the layers whose weights are float32 constants."""
    return set(_weights(model))


def _weights(model: "ov.Model") -> dict[str, int]:
    """How many weights each layer with a float32 constant has, by its name."""
    import openvino as ov

    layers = (node for node in model.get_ops() if node.get_type_name() in _LAYERS)
    constants = ((layer.get_friendly_name(), layer.input_value(1).get_node()) for layer in layers)
    return {
        name: int(constant.data.size)
        for name, constant in constants
        if constant.get_type_name() == "Constant" and constant.get_element_type() == ov.Type.f32
    }
