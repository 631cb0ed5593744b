"""Quantization of text models by bitsandbytes. The packed form is stored, so loading needs neither the parent nor a
second quantization.

**NF4**: linear layers in 4-bit normal floats, in blocks of 64, computed in bfloat16. The weights need a quarter of the
memory. Every product widens them again, so how fast it is depends on the engine's kernel (docs/decisions.md).
**LLM.int8()** (Dettmers et al. 2022, arXiv 2208.07339): int8 weights with a scale a row; activations are rounded per
token as they come. The few input features that reach 6 are multiplied in bfloat16 instead. It needs half of the memory.
On a CPU it is not faster: the extra work at every step costs more than int8 saves.
"""

from typing import Any

from variants.methods.base import BuildJob, MethodResult
from variants.methods.text_generation.baseline import PACKAGES, check_follows, linear_layers, parent_of
from variants.methods.text_generation.layers import changed_share, check_reach, check_served, outline


def nf4(job: BuildJob) -> MethodResult:
    """The parent with every linear layer but the head in NF4, loadable by AutoModelForCausalLM."""
    import torch

    options = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": torch.bfloat16}
    share = _pack(job, "NF4", options)
    note = f"NF4 weights in blocks of 64, computed in bfloat16, from its parent; {share}"
    return MethodResult("nf4", "huggingface", note, (*PACKAGES, "bitsandbytes"))


def llm_int8(job: BuildJob) -> MethodResult:
    """The parent with every linear layer but the head in int8, loadable by AutoModelForCausalLM."""
    share = _pack(job, "LLM.int8()", {"load_in_8bit": True})
    note = f"LLM.int8(): int8 weights a row, features of 6 and more in bfloat16, from its parent; {share}"
    return MethodResult("int8", "huggingface", note, (*PACKAGES, "bitsandbytes"))


def _pack(job: BuildJob, name: str, options: dict[str, Any]) -> str:
    """Quantize the parent with the `options` of BitsAndBytesConfig, write it, and compare what was written with the
    parent. Returns the share of the weights that are quantized, for a note. RecipeError, before any work, where linear
    layers hold less than half of them."""
    parent = parent_of(job)
    shapes = outline(parent)
    check_served(shapes, ("bloom",), f"in {name}")
    check_reach(shapes, linear_layers(shapes), name)
    import torch
    from bitsandbytes.nn import Linear4bit, Linear8bitLt
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    with job.progress.step(f"quantizing to {name}"):
        tokenizer = AutoTokenizer.from_pretrained(parent)
        model = AutoModelForCausalLM.from_pretrained(
            parent, dtype=torch.bfloat16, quantization_config=BitsAndBytesConfig(**options), device_map="cpu"
        )
    with job.progress.step("writing packed weights"):
        model.save_pretrained(job.out)
        tokenizer.save_pretrained(job.out)
    with job.progress.step("checking what was written"):
        # Not the model in memory: on a CPU with AVX512-BF16, its first forward pass repacks NF4 weights in place.
        written = AutoModelForCausalLM.from_pretrained(job.out, device_map="cpu")
        check_follows(written, AutoModelForCausalLM.from_pretrained(parent, dtype=torch.bfloat16), tokenizer)
    return changed_share(shapes, (each for each in written.modules() if isinstance(each, Linear4bit | Linear8bitLt)))
