"""Distillation: a smaller model learns its parent's next-token distributions, on texts of training splits (Hinton et
al. 2015, arXiv 1503.02531; for pruned language models Muralidharan et al. 2024, arXiv 2407.14679).

The loss is the KL divergence from the parent at every position of every text. The student keeps float32 weights, for
updates are smaller than bfloat16 can hold, and computes in bfloat16 where the CPU does so natively. Texts come in
batches of like length, so that hardly anything is padding, and are cut at 48 tokens: of what a step costs, most grows
with its tokens, and on a CPU many small steps teach more in the same time than few large ones.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from variants import tasks
from variants.errors import RecipeError
from variants.methods import training
from variants.methods.text_generation.baseline import computing_dtype
from variants.progress import Progress, Step
from variants.recipes.recipe import Distillation

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_MAX_TOKENS = 48


def texts_of(wanted: Distillation, home: Path, progress: Progress) -> list[str]:
    """`steps` x `batch` texts, each with its label, a fair share of each task. RecipeError when a task has too
    few."""
    need = wanted.steps * wanted.batch
    texts: list[str] = []
    for place, name in enumerate(wanted.tasks):
        share = (need + place) // len(wanted.tasks)
        task = tasks.get(name, home, progress)
        train = task.examples("train")
        if share > len(train):
            raise RecipeError(
                f"{share} texts of {name} are wanted, it has {len(train)} to train on",
                field="recipe.distillation.steps",
                mend="fewer steps or smaller batches",
            )
        texts += [str(example.input) + example.label for example in train[:share]]
    return texts


def distil(
    student: "PreTrainedModel",
    teacher: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    wanted: Distillation,
    seed: int,
    step: Step,
) -> None:
    """Change the float32 `student` in place, by AdamW under a rate that rises and falls. RecipeError when it
    diverges."""
    batches = _batches(texts, tokenizer, wanted.batch, seed)
    losses = (_divergence(student, teacher, batch) for batch in batches)
    descent = training.cosine(student.parameters(), wanted.learning_rate, len(batches))
    student.train()
    training.descend(descent, losses, step, most=1.0)
    student.eval()


def _batches(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", size: int, seed: int
) -> "list[tuple[Tensor, Tensor]]":
    """int64 [batch, tokens] and which of them are no padding (bool), in a seeded order."""
    import torch

    encoded = sorted((tokenizer.encode(text)[:_MAX_TOKENS] for text in texts), key=len)
    batches = []
    for start in range(0, len(encoded), size):
        rows = [torch.tensor(tokens) for tokens in encoded[start : start + size]]
        ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows])
        batches.append((ids, torch.arange(ids.shape[1]) < lengths[:, None]))
    random.Random(seed).shuffle(batches)
    return batches


def _divergence(student: "PreTrainedModel", teacher: "PreTrainedModel", batch: "tuple[Tensor, Tensor]") -> "Tensor":
    """Mean KL from teacher to student in nats a token. Padding comes last, where a causal model does not look."""
    import torch

    ids, real = batch
    with torch.no_grad():
        wanted = torch.log_softmax(_logits(teacher, ids, real), dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=computing_dtype() == "bfloat16"):
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
