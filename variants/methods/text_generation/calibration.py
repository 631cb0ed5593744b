"""Calibration texts in llmcompressor's form: the first examples of a task's calibration split, in their order.

The texts decide how good the result is. GPTQ is better with whole passages of plain text than with short prompts of one
task; `docs/decisions.md` has the figures.
"""

from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from variants.errors import RecipeError
from variants.methods.base import BuildJob
from variants.methods.examples import calibration_examples
from variants.recipes.recipe import Calibration
from variants.tasks import Chat, Example, Task

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

    encoded = tokenizer(texts_of(job, calibration, tokenizer), truncation=True, max_length=MAX_TOKENS)
    columns = {name: encoded[name] for name in ("input_ids", "attention_mask")}
    return {
        "dataset": Dataset.from_dict(columns),
        "num_calibration_samples": calibration.examples,
        "max_seq_length": MAX_TOKENS,
        "shuffle_calibration_samples": False,
    }


def texts_of(job: BuildJob, calibration: Calibration, tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Each example's input followed by its label. RecipeError when the task has too few, or when the model has no
    template for chats."""
    task, examples = calibration_examples(job, calibration)
    try:
        return written(task, examples, tokenizer)
    except (ValueError, TemplateError) as error:  # no template, or one that refuses a role
        raise RecipeError(
            f"the chats of {task.name} cannot be written: {error}", field="recipe.calibration.task", mend="another task"
        ) from None


def written(task: Task, examples: list[Example], tokenizer: "PreTrainedTokenizerBase") -> list[str]:
    """Each example's input followed by its label. ValueError or TemplateError where the model cannot write chats."""
    # A schema is no text that the model should write.
    return [input_text(example, tokenizer) + ("" if task.kind == "schema" else example.label) for example in examples]


def input_text(example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
    """An example's input; a chat in the model's own template, without the first token that the tokenizer adds itself.
    ValueError where the model has no template."""
    if not isinstance(example.input, Chat):
        return str(example.input)
    return chat_text(example.input, tokenizer).removeprefix(str(tokenizer.bos_token or ""))


def chat_text(chat: Chat, tokenizer: "PreTrainedTokenizerBase") -> str:
    """A chat in the model's own template, to the place where its answer begins. ValueError where there is none."""
    messages = [{"role": role, "content": content} for role, content in chat.messages]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
