"""Quantization of text models by bitsandbytes. The packed form is stored, so loading needs neither the parent nor a
second quantization.

**NF4**: linear layers in 4-bit normal floats, in blocks of 64, computed in bfloat16. The weights need a quarter of the
memory. Every product widens them again, so how fast it is depends on the engine's kernel (docs/decisions.md).
**LLM.int8()** (Dettmers et al. 2022, arXiv 2208.07339): int8 weights with a scale a row; activations are rounded per
token as they come. The few input features that reach 6 are multiplied in bfloat16 instead. It needs half of the memory.
On a CPU it is not faster: the extra work at every step costs more than int8 saves.
"""

import gc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variants.allocator import freed_at_once
from variants.artifacts.loss import Kept, Loss
from variants.machine import device
from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import (
    PACKAGES,
    check_follows,
    linear_layers,
    load,
    next_tokens,
    parent_of,
)
from variants.methods.text_generation.layers import changed_share, check_reach, check_served, outline
from variants.methods.text_generation.loss import Gauge, Rounding, fused_name, hold, perplexity, texts_to_hold
from variants.recipes.recipe import Quantize

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_PACKAGES = (*PACKAGES, "bitsandbytes")


def nf4(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with every linear layer but the head in NF4, loadable by AutoModelForCausalLM."""
    import torch

    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    made = MethodResult("nf4", "huggingface", "NF4 weights in blocks of 64, computed in bfloat16", _PACKAGES)
    return _pack(job, "NF4", options, made)


def llm_int8(job: BuildJob[Quantize]) -> MethodResult:
    """The parent with every linear layer but the head in int8, loadable by AutoModelForCausalLM."""
    note = "LLM.int8(): int8 weights a row, features of 6 and more in bfloat16"
    made = MethodResult("int8", "huggingface", note, _PACKAGES)
    return _pack(job, "LLM.int8()", {"load_in_8bit": True}, made)


@freed_at_once()
def _pack(job: BuildJob[Quantize], name: str, options: dict[str, Any], made: MethodResult) -> MethodResult:
    """Quantize the parent with the `options` of BitsAndBytesConfig, write it, and compare what was written with the
    parent. Returns `made`, its note completed by the share of the weights that are quantized, with the loss.
    RecipeError, before any work, where linear layers hold less than half of the weights."""
    parent = parent_of(job)
    shapes = outline(parent)
    check_served(shapes, ("bloom",), f"in {name}")
    check_reach(shapes, linear_layers(shapes), name)
    from bitsandbytes.nn import Linear4bit, Linear8bitLt
    from transformers import AutoModelForCausalLM

    loss, kept = _written_within(job, name, options) if job.recipe.keeps else (None, None)
    wanted, tokenizer, gauge = _measured(job, parent, loss is None)
    if not job.recipe.keeps:
        _write(job, name, options)
    gc.collect()
    with job.progress.step("checking what was written"):
        # Not the model in memory: on a CPU with AVX512-BF16, its first forward pass repacks NF4 weights in place.
        written = AutoModelForCausalLM.from_pretrained(job.out, device_map=device())
        check_follows(written, wanted, tokenizer)
        loss = gauge.loss(written) if gauge else loss
    share = changed_share(shapes, (each for each in written.modules() if isinstance(each, Linear4bit | Linear8bitLt)))
    return replace(made, note=f"{made.note}, from its parent; {share}", loss=loss, kept=kept)


def _measured(
    job: BuildJob[Quantize], parent: Path, gauges: bool
) -> "tuple[torch.Tensor, PreTrainedTokenizerBase, Gauge | None]":
    """What the parent says of a fixed text, and of the calibration texts if `gauges`. It is not kept in memory: what is
    packed is loaded after it."""
    with job.progress.step("measuring the parent"):
        original, tokenizer = load(parent, "bfloat16")
        wanted = next_tokens(original, tokenizer)
        gauge = Gauge(job, original, tokenizer) if gauges else None
    del original
    gc.collect()  # modules refer to one another
    return wanted, tokenizer, gauge


def _write(job: BuildJob[Quantize], name: str, options: dict[str, Any], kept: Sequence[str] = ()) -> None:
    """Quantize all linear layers but those in `kept` and the head, and write the model below the job's `out`."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    parent = parent_of(job)
    skipped = {"llm_int8_skip_modules": _skipped(kept, outline(parent))} if kept else {}
    with job.progress.step(f"quantizing to {name}"):
        tokenizer = AutoTokenizer.from_pretrained(parent)
        model = AutoModelForCausalLM.from_pretrained(
            parent,
            dtype=torch.bfloat16,
            quantization_config=BitsAndBytesConfig(**options, **skipped),
            device_map=device(),
        )
    with job.progress.step("writing packed weights"):
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)


def _skipped(kept: Sequence[str], shapes: "PreTrainedModel") -> list[str]:
    """The names for transformers, which no longer skips the head by itself, and for vLLM, which knows fused layers by
    other names."""
    head = shapes.get_output_embeddings()
    heads = [name for name, module in shapes.named_modules() if module is head]
    return [*kept, *heads, *dict.fromkeys(name for name in map(fused_name, kept) if name)]


def _written_within(job: BuildJob[Quantize], name: str, options: dict[str, Any]) -> tuple[Loss, Kept | None]:
    """Write the parent with those layers in bfloat16 that rounding hurts most, until the recipe's limit holds."""
    from transformers import AutoModelForCausalLM

    model, tokenizer = load(parent_of(job), "bfloat16")
    layers = linear_layers(model)
    eight = job.recipe.scheme == "llm-int8"
    roundings = {
        each: Rounding(layer, 8, None, 8) if eight else Rounding(layer, 4, 64) for each, layer in layers.items()
    }

    def build(kept: Sequence[str]) -> float:
        _write(job, name, options, kept)
        return perplexity(AutoModelForCausalLM.from_pretrained(job.out, device_map=device()), texts)

    texts = texts_to_hold(job, tokenizer)
    return hold(job.recipe, model, roundings, texts, build)
