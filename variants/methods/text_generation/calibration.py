"""Calibration texts as llmcompressor takes them: the first examples of a task's calibration split, in their order.

What is looked at decides how good a result is: whole passages of plain text teach GPTQ more than short prompts of one
task do, and `docs/decisions.md` has the figures.
"""

from typing import TYPE_CHECKING, Any

from variants import tasks
from variants.methods.base import BuildJob
from variants.methods.examples import first
from variants.recipes.recipe import Calibration

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 512


def oneshot_data(job: BuildJob, wanted: Calibration | None, tokenizer: "PreTrainedTokenizerBase") -> dict[str, Any]:
    """oneshot's arguments for the calibration texts, each with its label so that both are seen, cut at MAX_TOKENS; or
    none. RecipeError when the task has too few."""
    if wanted is None:
        return {}
    from datasets import Dataset

    encoded = tokenizer(texts_of(job, wanted), truncation=True, max_length=MAX_TOKENS)
    columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return {
        "dataset": Dataset.from_dict(columns),
        "num_calibration_samples": wanted.examples,
        "max_seq_length": MAX_TOKENS,
        "shuffle_calibration_samples": False,
    }


def texts_of(job: BuildJob, wanted: Calibration) -> list[str]:
    """Each example's input and label. RecipeError as above."""
    task = tasks.get(wanted.task, job.home, job.progress)
    examples = first(task, "calibration", wanted.examples, "recipe.calibration.examples")
    return [str(example.input) + example.label for example in examples]
