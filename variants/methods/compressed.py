"""W8A8 by llmcompressor: int8 weights a channel, int8 activations a token, in the compressed-tensors format that vLLM
executes with integer kernels. Round-to-nearest needs no data; GPTQ and SmoothQuant look at the calibration split of a
task.

The output head is quantized too: in a small model it is a fifth of each step's work. Where it shares its weights with
the embedding, they are parted first, and the embedding stays as it is."""

from typing import TYPE_CHECKING, Any

from variants import tasks
from variants.methods.base import Job, Made
from variants.methods.causal import PACKAGES, check_generates, load, parent_of
from variants.recipe import Calibration, Quantize

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_TOKENS = 512
_TARGETS = ["Linear", "re:.*lm_head"]
"""vLLM's head is of a class of its own, so that it is found by name alone."""


def w8a8(job: Job) -> Made:
    """The parent with every linear layer in int8, the head too."""
    assert isinstance(job.recipe, Quantize)
    from llmcompressor import oneshot

    parent = parent_of(job)
    model, tokenizer = load(parent, "bfloat16")
    part_head(model)
    data = _calibration(job, job.recipe.calibration, tokenizer)
    with job.progress.step(f"quantizing to W8A8 ({job.recipe.algorithm})"):
        oneshot(model=model, recipe=_modifiers(job.recipe), **data)
    with job.progress.step("checking that it generates"):
        check_generates(model, tokenizer)
    with job.progress.step("writing compressed tensors"):
        model.save_pretrained(job.out, save_compressed=True)
        tokenizer.save_pretrained(job.out)
    note = f"int8 weights a channel, int8 activations a token, from its parent; {job.recipe.algorithm}"
    return Made("int8", "huggingface", note, (*PACKAGES, "llmcompressor", "compressed-tensors"))


def part_head(model: "PreTrainedModel") -> None:
    """Give the output head weights of its own, in place, where they are the embedding's."""
    import torch

    head = model.get_output_embeddings()
    if head is None or not model.config.tie_word_embeddings:
        return
    head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
    model.config.tie_word_embeddings = False


def _modifiers(recipe: Quantize) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    kind = GPTQModifier if recipe.algorithm == "gptq" else QuantizationModifier
    rounding = kind(targets=_TARGETS, scheme="W8A8")
    if recipe.smoothing is None:
        return [rounding]
    return [SmoothQuantModifier(smoothing_strength=recipe.smoothing), rounding]


def _calibration(job: Job, wanted: Calibration | None, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """oneshot's arguments for the calibration prompts, each with its label so that both are seen; or none."""
    if wanted is None:
        return {}
    from datasets import Dataset

    examples = tasks.get(wanted.task, job.home, job.progress).examples("calibration", wanted.examples)
    texts = [str(example.input) + example.label for example in examples]
    encoded = tokenizer(texts, truncation=True, max_length=_MAX_TOKENS)
    columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return {
        "dataset": Dataset.from_dict(columns),
        "num_calibration_samples": len(texts),
        "max_seq_length": _MAX_TOKENS,
        "shuffle_calibration_samples": False,
    }
