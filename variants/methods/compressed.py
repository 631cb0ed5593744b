"""W8A8 by llmcompressor: int8 weights a channel, int8 activations a token, in the compressed-tensors format that vLLM
executes with integer kernels. Round-to-nearest needs no data; GPTQ and SmoothQuant look at the calibration split of a
task. The output head stays as it is: it is small work, and its error is the one that users see."""

from typing import TYPE_CHECKING, Any

from variants import tasks
from variants.methods.base import Job, Made
from variants.methods.causal import PACKAGES, check_generates, load, parent_of
from variants.recipe import Calibration, Quantize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MAX_TOKENS = 512


def w8a8(job: Job) -> Made:
    """The parent with every linear layer but the head in int8."""
    assert isinstance(job.recipe, Quantize)
    from llmcompressor import oneshot

    parent = parent_of(job)
    model, tokenizer = load(parent, "bfloat16")
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


def _modifiers(recipe: Quantize) -> list[Any]:
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    kind = GPTQModifier if recipe.algorithm == "gptq" else QuantizationModifier
    rounding = kind(targets="Linear", scheme="W8A8", ignore=["lm_head"])
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
