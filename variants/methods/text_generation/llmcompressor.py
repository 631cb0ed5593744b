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
from typing import TYPE_CHECKING, Any, NamedTuple

from variants.allocator import freed_at_once
from variants.artifacts.loss import Kept, Loss
from variants.artifacts.manifest import Precision
from variants.artifacts.tensors import tensor_entries
from variants.errors import RecipeError
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_generates,
    computing_dtype,
    linear_layers,
    load,
    parent_of,
    write,
)
from variants.methods.text_generation.calibration import oneshot_data
from variants.methods.text_generation.layers import changed_share, check_reach, check_served, outline
from variants.methods.text_generation.loss import Gauge, Rounding, hold, perplexity, texts_to_hold
from variants.methods.text_generation.packing import Unfinished, write_packed
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PACKAGES = (*PACKAGES, "llmcompressor", "compressed-tensors")
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


@freed_at_once()
def _quantize(job: BuildJob[Quantize], parent: Path, precision: Precision, note: str) -> MethodResult:
    shapes = outline(parent)
    check_reach(shapes, linear_layers(shapes), job.recipe.scheme)
    check_layers(job.recipe.int8_layers or (), shapes)
    unfinished = Unfinished(job, _PACKAGES)
    rounded = _rounded(job, parent, shapes, unfinished)
    quantized = [each for each in linear_layers(rounded.model).values() if hasattr(each, "quantization_scheme")]
    share = changed_share(shapes, quantized)
    if _keeps_names(parent, shapes):
        write_packed(rounded.model, job.out, unfinished.folder, job.progress)
        rounded.tokenizer.save_pretrained(job.out)
    else:
        write(job, rounded.model, rounded.tokenizer, save_compressed=True)
    return MethodResult(precision, "huggingface", f"{note}; {share}", _PACKAGES, loss=rounded.loss, kept=rounded.kept)


class _Rounded(NamedTuple):
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    loss: Loss | None
    kept: Kept | None = None


def _rounded(job: BuildJob[Quantize], parent: Path, shapes: "PreTrainedModel", unfinished: Unfinished) -> _Rounded:
    """The quantized model in memory. What rounding to nearest lost is not measured again after an interruption: it
    gives the same weights again. GPTQ and AWQ begin anew, since each layer depends on those before it."""
    known = None if job.recipe.learns else unfinished.outcome()
    if known is not None:
        plain_head = shapes.config.model_type in _PLAIN_HEADS
        model, tokenizer = _load(job, parent, plain_head)
        _round(job, model, tokenizer, plain_head, known.kept.layers if known.kept else ())
        return _Rounded(model, tokenizer, known.loss, known.kept)
    rounded = _quantize_within(job, parent, shapes) if job.recipe.keeps else _quantize_all(job, parent, shapes)
    with job.progress.step("checking that it generates"):
        check_generates(rounded.model, rounded.tokenizer)
    unfinished.begin(rounded.loss, rounded.kept)
    return rounded


def _keeps_names(parent: Path, shapes: "PreTrainedModel") -> bool:
    """Whether weights have the same names in the parent's files as in the model. Some types of models are renamed or
    merged when they are loaded, and transformers undoes that only in `save_pretrained`."""
    files = {name for file in parent.glob("*.safetensors") for name in tensor_entries(file)}
    return {name for name, _ in shapes.named_parameters()} <= files


def _load(job: BuildJob[Quantize], parent: Path, plain_head: bool) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    model, tokenizer = load(parent, computing_dtype() if job.recipe.calibration else "bfloat16")
    if job.recipe.scheme != "w8a8-fp8" and not plain_head:
        untie_head(model)
    return model, tokenizer


def _quantize_all(job: BuildJob[Quantize], parent: Path, shapes: "PreTrainedModel") -> _Rounded:
    """The parent with all layers rounded, and what that loses."""
    plain_head = shapes.config.model_type in _PLAIN_HEADS
    model, tokenizer = _load(job, parent, plain_head)
    gauge = Gauge(job, model, tokenizer)
    _round(job, model, tokenizer, plain_head)
    return _Rounded(model, tokenizer, gauge.loss(model))


def _quantize_within(job: BuildJob[Quantize], parent: Path, shapes: "PreTrainedModel") -> _Rounded:
    """The parent with those layers in bfloat16 that rounding hurts most, until the recipe's limit holds."""
    plain_head = shapes.config.model_type in _PLAIN_HEADS
    model, tokenizer = _load(job, parent, plain_head)
    texts = texts_to_hold(job, tokenizer)
    built: list[PreTrainedModel] = []

    def build(kept: Sequence[str]) -> float:
        built.clear()
        built.append(_load(job, parent, plain_head)[0])
        _round(job, built[0], tokenizer, plain_head, kept)
        return perplexity(built[0], texts)

    loss, kept = hold(job.recipe, model, _roundings(job.recipe, model, plain_head), texts, build)
    return _Rounded(built[0], tokenizer, loss, kept)


def _roundings(recipe: Quantize, model: "PreTrainedModel", plain_head: bool) -> dict[str, Rounding]:
    """How the recipe rounds each layer, by name."""
    wide = set(recipe.int8_layers or ())
    layers: dict[str, Rounding] = {}
    for name, layer in linear_layers(model).items():
        eight = recipe.scheme != "w4a16" or name.rpartition(".")[2] in wide
        layers[name] = Rounding(layer, 8, None, 8) if eight else Rounding(layer, 4, recipe.group_size)
    head: Any = model.get_output_embeddings()
    if recipe.scheme != "w8a8-fp8" and not plain_head and head is not None:
        name = next(name for name, module in model.named_modules() if module is head)
        layers[name] = Rounding(head, 8, None, 8)
    return layers


def _round(
    job: BuildJob[Quantize],
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    plain_head: bool,
    kept: Sequence[str] = (),
) -> None:
    """Quantize `model` in place, without the layers in `kept`."""
    import torch
    from llmcompressor import oneshot

    heads = [name for name in kept if name.endswith("lm_head")]
    data = oneshot_data(job, job.recipe.calibration, tokenizer) if job.recipe.learns else {}
    with job.progress.step(f"quantizing to {job.recipe.scheme.upper()} ({job.recipe.algorithm})"):
        oneshot(model=model, recipe=_modifiers(job.recipe, plain_head or bool(heads), kept), **data)
        # Integer weights stay exact when their scales are rounded to bfloat16.
        model.to(torch.bfloat16)  # type: ignore[arg-type]


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


def _modifiers(recipe: Quantize, plain_head: bool, kept: Sequence[str] = ()) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    if recipe.scheme == "w8a8-fp8":
        return [QuantizationModifier(targets=["Linear"], scheme="FP8_DYNAMIC", ignore=[_HEAD, *kept])]
    kind = GPTQModifier if recipe.algorithm == "gptq" else QuantizationModifier
    if recipe.scheme == "w4a16":
        rounding = kind(
            config_groups=_int4_groups(recipe, plain_head), ignore=[*([_HEAD] if plain_head else []), *kept]
        )
        if recipe.algorithm != "awq":
            return [rounding]
        from variants.methods.text_generation.awq import PlainAWQModifier

        return [PlainAWQModifier(n_grid=_AWQ_GRID), rounding]
    rounding = kind(targets=["Linear"], scheme="W8A8", ignore=[_HEAD, *kept])
    if not plain_head:
        rounding = kind(targets=["Linear", _HEAD], scheme="W8A8", ignore=list(kept))
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
