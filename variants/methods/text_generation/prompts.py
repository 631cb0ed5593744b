"""Prompts, and the tokens that a model is trained to answer them with.

Of a label by likelihood that is the first token, which alone decides. Of a generated answer it is the whole label and
the token that ends a text. A chat is written in the model's own template.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import TemplateError

from variants.errors import RecipeError
from variants.methods.text_generation.calibration import chat_text, input_text
from variants.metrics.kinds import LEARNT
from variants.metrics.scoring import first_tokens
from variants.tasks import Chat, Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Prompt(NamedTuple):
    """A prompt's tokens, and those to answer with: one or more."""

    tokens: list[int]
    answer: list[int]


def is_generated(task: Task) -> bool:
    """Whether the model is to write the label, and not only to find it the likeliest."""
    return task.kind in LEARNT


def prompts_of(task: Task, examples: Sequence[Example], tokenizer: "PreTrainedTokenizerBase") -> list[Prompt]:
    """The examples' tokens, in their order. RecipeError where this tokenizer begins two labels by likelihood with the
    same token, or has no template for the task's chats."""
    if is_generated(task):
        end = [] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)]
        prompts = [_prompt(task, each, tokenizer) for each in examples]
        return [prompt._replace(answer=prompt.answer + end) for prompt in prompts]
    try:
        firsts = first_tokens([tokenizer.encode(label, add_special_tokens=False) for label in task.labels], task.labels)
    except ValueError as error:
        raise RecipeError(str(error), field="recipe.task", mend="another task") from error
    answers = dict(zip(task.labels, firsts, strict=True))
    return [Prompt(tokenizer.encode(str(example.input)), [answers[example.label]]) for example in examples]


def whole_text(task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase") -> str:
    """An example's input and its label. RecipeError where the model has no template for the task's chats."""
    text = _written(lambda: input_text(example, tokenizer), task)
    return text + (answer_text(example) if is_generated(task) else example.label)


def answer_text(example: Example) -> str:
    """The label as it follows the input: after a blank, but in a chat and where the input ends with one."""
    follows = isinstance(example.input, Chat) or str(example.input)[-1:].isspace()
    return example.label if follows else f" {example.label}"


def _prompt(task: Task, example: Example, tokenizer: "PreTrainedTokenizerBase") -> Prompt:
    """The input's tokens, as an engine has them, and the label's. The template of a chat writes all special tokens
    itself."""
    given, special, answer = example.input, not isinstance(example.input, Chat), answer_text(example)
    text = _written(lambda: chat_text(given, tokenizer), task) if isinstance(given, Chat) else str(given)
    tokens = list(tokenizer.encode(text, add_special_tokens=special))
    whole = list(tokenizer.encode(text + answer, add_special_tokens=special))
    # Some tokenizers put a blank before any text, so a label that is read alone could begin with two.
    if len(whole) > len(tokens) and whole[: len(tokens)] == tokens:
        return Prompt(tokens, whole[len(tokens) :])
    return Prompt(tokens, list(tokenizer.encode(answer, add_special_tokens=False)))


def _written(write: Callable[[], str], task: Task) -> str:
    try:
        return write()
    except (ValueError, TemplateError) as error:  # no template, or one that refuses a role
        message = f"the chats of {task.name} cannot be written: {error}"
        mend = "a task with `input`, or a model with a chat template"
        raise RecipeError(message, field="recipe", mend=mend) from None
