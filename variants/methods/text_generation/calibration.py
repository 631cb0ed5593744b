"""Calibration texts in llmcompressor's form: the first examples of a task's calibration split, in their order.

The texts decide how good the result is. GPTQ is better with whole passages of plain text than with short prompts of one
task; `docs/decisions.md` has the figures.
"""

from typing import TYPE_CHECKING, Any

from variants.methods.base import BuildJob
from variants.methods.examples import calibration_examples
from variants.recipes.recipe import Calibration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 512


def oneshot_data(
    job: BuildJob, calibration: Calibration | None, tokenizer: "PreTrainedTokenizerBase"
) -> dict[str, Any]:
    """oneshot's arguments for the calibration texts, each cut at MAX_TOKENS; none where the recipe has no calibration.
    RecipeError when the task has too few."""
    if calibration is None:
        return {}
    from datasets import Dataset

    encoded = tokenizer(texts_of(job, calibration), truncation=True, max_length=MAX_TOKENS)
    columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return {
        "dataset": Dataset.from_dict(columns),
        "num_calibration_samples": calibration.examples,
        "max_seq_length": MAX_TOKENS,
        "shuffle_calibration_samples": False,
    }


def texts_of(job: BuildJob, calibration: Calibration) -> list[str]:
    """Each example's input followed by its label. RecipeError when the task has too few."""
    _, examples = calibration_examples(job, calibration)
    return [str(example.input) + example.label for example in examples]
