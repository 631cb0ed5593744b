"""W8A8, W4A16 and FP8 by llmcompressor, in the compressed-tensors format, which vLLM executes with its own kernels.

**W8A8**: int8 weights with a scale a channel, and int8 activations with a range per token, computed as they come.
**W4A16**: int4 weights in symmetric groups, and bfloat16 activations.
**FP8**: 8-bit floats with a scale per channel and per token; only GPUs multiply them.

Round-to-nearest needs no data. GPTQ (Frantar et al. 2022, arXiv 2210.17323), AWQ (Lin et al. 2023, arXiv 2306.00978)
and SmoothQuant (Xiao et al. 2022, arXiv 2211.10438) use the calibration split of a task.

W8A8 and W4A16 quantize the output head to W8A8. In a small model the head is a fifth of each step's work, and 4 bits
cost it too much accuracy. Where the head shares its weights with the embedding, it gets a copy first, and the embedding
stays unchanged. The heads of Bloom, Gemma 2 and OPT stay as they are: vLLM has no other form of them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.artifacts.manifest import Precision
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_and_write,
    computing_dtype,
    linear_layers,
    load,
    parent_of,
)
from variants.methods.text_generation.calibration import oneshot_data
from variants.methods.text_generation.layers import changed_share, check_reach, check_served, outline
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HEAD = "re:.*lm_head"
"""vLLM's head has a class of its own, so it is addressed by name."""
_PLAIN_HEADS = ("bloom", "gemma2", "opt")
"""The model types whose head vLLM loads without quantization: it stays as it is, and shares the embedding's weights."""
_GROUP_SIZES = (32, 64, 128)
_AWQ_GRID = 10
"""How many scales are tried a layer: the library's default of 20 takes twice as long."""


def w8a8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with every linear layer in int8, the head too where vLLM takes one in int8."""
    note = f"int8 weights a channel, int8 activations a token, from its parent; {job.recipe.algorithm}"
    return _quantize(job, parent_of(job), "int8", note)


def w4a16(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with every linear layer in int4, eight weights to an int32, and the head in int8. RecipeError, before
    any work, when the groups do not divide a layer's inputs."""
    assert job.recipe.group_size is not None
    parent = parent_of(job)
    shapes = outline(parent)
    check_served(shapes, ("bloom",), "in w4a16")
    _check_groups(job.recipe.group_size, shapes)
    head = [] if shapes.config.model_type in _PLAIN_HEADS else ["the head"]
    wide = ", ".join([*head, *(job.recipe.int8_layers or ())])
    note = (
        f"int4 weights in symmetric groups of {job.recipe.group_size}, {f'{wide} in int8, ' if wide else ''}from its "
        f"parent; {job.recipe.algorithm}"
    )
    return _quantize(job, parent, "int4", note)


def fp8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with every linear layer but the head in 8-bit floats (e4m3), activations too."""
    note = "8-bit float weights a channel, 8-bit float activations a token, from its parent; rtn"
    return _quantize(job, parent_of(job), "fp8", note)


def _quantize(job: BuildJob[Quantize], parent: Path, precision: Precision, note: str) -> MethodResult:
    import torch
    from llmcompressor import oneshot

    shapes = outline(parent)
    check_reach(shapes, linear_layers(shapes), job.recipe.scheme)
    check_layers(job.recipe.int8_layers or (), shapes)
    model, tokenizer = load(parent, computing_dtype() if job.recipe.calibration else "bfloat16")
    plain_head = shapes.config.model_type in _PLAIN_HEADS
    if job.recipe.scheme != "w8a8-fp8" and not plain_head:
        untie_head(model)
    data = oneshot_data(job, job.recipe.calibration, tokenizer)
    with job.progress.step(f"quantizing to {job.recipe.scheme.upper()} ({job.recipe.algorithm})"):
        oneshot(model=model, recipe=_modifiers(job.recipe, plain_head), **data)
        # Integer weights stay exact when their scales are rounded to bfloat16.
        model.to(torch.bfloat16)  # type: ignore[arg-type]
    quantized = [each for each in linear_layers(model).values() if hasattr(each, "quantization_scheme")]
    share = changed_share(shapes, quantized)
    check_and_write(job, model, tokenizer, save_compressed=True)
    return MethodResult(
        precision, "huggingface", f"{note}; {share}", (*PACKAGES, "llmcompressor", "compressed-tensors")
    )


def _check_groups(size: int, model: "PreTrainedModel") -> None:
    """RecipeError where groups of `size` do not divide the inputs of each linear layer, or there is none."""
    layers = linear_layers(model)
    check_reach(model, layers, "w4a16")
    widths = {name.rpartition(".")[2]: layer.in_features for name, layer in layers.items()}
    for name, width in widths.items():
        if width % size:
            fits = [str(each) for each in _GROUP_SIZES if all(width % each == 0 for width in widths.values())]
            raise RecipeError(
                f"groups of {size} do not divide the {width} inputs of a layer ({name})",
                field="recipe.group_size",
                mend=f"one of {', '.join(fits)}" if fits else "no usual size fits this model",
            )


def check_layers(wanted: Sequence[str], model: "PreTrainedModel") -> None:
    """RecipeError where one of `int8_layers` is no layer of the model: it would have no effect."""
    known = sorted({name.rpartition(".")[2] for name in linear_layers(model)})
    for name in wanted:
        if name not in known:
            mend = f"one of {', '.join(known)}"
            raise RecipeError(f"the parent has no layer {name!r}", field="recipe.int8_layers", mend=mend)


def untie_head(model: "PreTrainedModel") -> None:
    """Give the output head a copy of its weights, in place, where it shares them with the embedding."""
    import torch

    head = model.get_output_embeddings()
    if head is None or not model.config.tie_word_embeddings:
        return
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False


def _modifiers(recipe: Quantize, plain_head: bool) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    if recipe.scheme == "w8a8-fp8":
        return [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=[_HEAD])]
    kind = GPTQModifier if recipe.algorithm == "gptq" else QuantizationModifier
    if recipe.scheme == "w4a16":
        rounding = kind(config_groups=_int4_groups(recipe, plain_head), ignore=[_HEAD] if plain_head else [])
        if recipe.algorithm != "awq":
            return [rounding]
        from variants.methods.text_generation.awq import PlainAWQModifier

        return [PlainAWQModifier(n_grid=_AWQ_GRID), rounding]
    rounding = kind(targets=["Linear"], scheme="W8A8", ignore=[_HEAD])
    if not plain_head:
        rounding = kind(targets=["Linear", _HEAD], scheme="W8A8")
    if recipe.smoothing is None:
        return [rounding]
    return [SmoothQuantModifier(smoothing_strength=recipe.smoothing), rounding]


def _int4_groups(recipe: Quantize, plain_head: bool) -> dict[str, Any]:
    """int4 for linear layers, int8 for the recipe's `int8_layers`, and for the head unless it is plain."""
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, preset_name_to_scheme

    wide = [*([] if plain_head else [_HEAD]), *(rf"re:.*\.{name}$" for name in recipe.int8_layers or ())]
    weights = QuantizationArgs(num_bits=4, type="int", symmetric=True, strategy="group", group_size=recipe.group_size)
    groups = {"group_0": QuantizationScheme(targets=["Linear"], weights=weights)}
    return groups | ({"group_1": preset_name_to_scheme("W8A8", wide)} if wide else {})
