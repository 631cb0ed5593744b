"""Distillation: a smaller model learns its parent's next-token distributions, on texts of training splits (Hinton et
al. 2015, arXiv 1503.02531; for pruned language models Muralidharan et al. 2024, arXiv 2407.14679).

The loss is the KL divergence from the parent at every position of every text. The student keeps float32 weights,
because updates are too small for bfloat16. It computes in bfloat16 where the CPU does so natively. Batches hold texts
of similar length, so that there is little padding. Texts are cut at 48 tokens, because the cost of a step grows with
its tokens: on a CPU, many small steps teach more in the same time than few large ones.
"""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

from variants.methods import training
from variants.methods.base import BuildJob
from variants.methods.examples import first_examples
from variants.methods.text_generation.baseline import computing_dtype
from variants.methods.text_generation.prompts import whole_text
from variants.progress import Step
from variants.recipes.recipe import Distillation
from variants.tasks import Example, Task

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_TOKENS = 48


def examples_of(job: BuildJob, recipe: Distillation) -> list[tuple[Task, Example]]:
    """`steps` x `batch` examples, each with its task, an equal share of each. RecipeError when a task has too few."""
    count = recipe.steps * recipe.batch
    examples: list[tuple[Task, Example]] = []
    for place, name in enumerate(recipe.tasks):
        share = (count + place) // len(recipe.tasks)
        task, given = first_examples(job, name, "train", share, "recipe.distillation.steps")
        examples += [(task, example) for example in given]
    return examples


def distil(
    student: "PreTrainedModel",
    teacher: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    examples: Sequence[tuple[Task, Example]],
    recipe: Distillation,
    seed: int,
    step: Step,
) -> None:
    """Train the float32 `student` in place, by AdamW under a rate that rises and falls. RecipeError when it
    diverges, or cannot write the examples' chats."""
    texts = [whole_text(task, example, tokenizer) for task, example in examples]
    batches = _batches(texts, tokenizer, recipe.batch, seed)
    losses = (_divergence(student, teacher, batch) for batch in batches)
    descent = training.cosine(student.parameters(), recipe.learning_rate, len(batches))
    student.train()
    with training.on_device(student, teacher):
        training.descend(descent, losses, step, most=1.0)
    student.eval()


def _batches(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", size: int, seed: int
) -> "list[tuple[Tensor, Tensor]]":
    """Token ids, int64 [batch, tokens], and which of them are no padding (bool), in a seeded order."""
    encoded = sorted((tokenizer.encode(text)[:_MAX_TOKENS] for text in texts), key=len)
    batches = [training.padded(encoded[start : start + size]) for start in range(0, len(encoded), size)]
    random.Random(seed).shuffle(batches)
    return batches


def _divergence(student: "PreTrainedModel", teacher: "PreTrainedModel", batch: "tuple[Tensor, Tensor]") -> "Tensor":
    """Mean KL divergence from teacher to student in nats a token. Padding comes last, so a causal model ignores it."""
    import torch

    ids, real = (each.to(student.device) for each in batch)
    with torch.no_grad():
        wanted = torch.log_softmax(_logits(teacher, ids, real), dim=-1)
    with torch.autocast(ids.device.type, dtype=torch.bfloat16, enabled=computing_dtype() == "bfloat16"):
        logits = _logits(student, ids, real)
    return torch.nn.functional.kl_div(
        torch.log_softmax(logits.float(), dim=-1), wanted, log_target=True, reduction="batchmean"
    )


def _logits(model: "PreTrainedModel", ids: "Tensor", real: "Tensor") -> "Tensor":
    """float32 [tokens that are no padding, vocabulary]."""
    head = model.get_output_embeddings()
    assert head is not None
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    logits: Tensor = head(hidden[real]).float()
    return logits
