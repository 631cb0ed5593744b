"""Training data and loss of every method that trains a text classifier.

Everything is seeded and runs on one worker: the same seed on the same machine and versions gives the same weights.
Batches hold texts of similar length, so that there is little padding. In each epoch, texts are shuffled, sorted by
length within stretches of a few batches, and cut into batches.
"""

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from variants.methods import training
from variants.methods.text_classification import model as text_classifier
from variants.progress import Step
from variants.tasks import Example

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_STRETCH = 16  # batches that are sorted by length together
_NEW_HEAD = 10.0  # times the learning rate, for a head that begins at random


class Encoded(NamedTuple):
    """A text's tokens and its label's position."""

    ids: list[int]
    target: int


def encoded(
    examples: Sequence[Example], labels: Sequence[str], tokenizer: "PreTrainedTokenizerBase", most: int
) -> list[Encoded]:
    """The examples' tokens, each text cut to `most`, and their labels' positions in `labels`."""
    token_ids = tokenizer([str(example.input) for example in examples], truncation=True, max_length=most)["input_ids"]
    return [Encoded(ids, labels.index(example.label)) for ids, example in zip(token_ids, examples, strict=True)]


def fit(
    model: "PreTrainedModel",
    data: Sequence[Encoded],
    step: Step,
    recipe: training.Training,
    *,
    epochs: int,
    seed: int,
    teacher: "PreTrainedModel | None" = None,
) -> None:
    """AdamW under a rate that rises over a tenth of the steps and falls along a cosine; changes `model` in place and
    leaves it in evaluation mode.

    Only parameters that require a gradient are trained. Word embeddings are not: few words are seen often enough, and
    they are half of the weights. Parameters outside the encoder are a new head, and learn at ten times the rate. With
    a `teacher` the head is not new, and half of the loss is the divergence from the teacher's answers. RecipeError when
    training diverges.
    """
    import torch
    from torch.nn import functional

    batches, learning_rate = drawn(data, recipe.batch, epochs, seed), recipe.learning_rate
    model.get_input_embeddings().requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inside = set(model.base_model.parameters())
    rates = {True: learning_rate, False: learning_rate * (_NEW_HEAD if teacher is None else 1)}
    groups = [{"params": [each for each in trained if (each in inside) is of], "lr": rates[of]} for of in rates]

    def losses(here: str) -> "Iterator[Tensor]":
        for batch in batches:
            ids, mask, targets = (each.to(here) for each in padded(batch))
            logits = text_classifier.logits(model, ids, mask)
            loss = functional.cross_entropy(logits, targets)
            if teacher is not None:
                with torch.no_grad():
                    teacher_logits = text_classifier.logits(teacher, ids, mask)
                loss = training.distillation_loss(loss, logits, teacher_logits)
            yield loss

    model.train()
    with training.on_device(model, teacher) as here:
        descent = training.cosine(groups, learning_rate, len(batches), decay=0.01)
        training.descend(descent, losses(here), step, most=1.0)
    model.eval()


def steps(examples: int, batch: int, epochs: int) -> int:
    """How many batches `fit` takes."""
    return epochs * -(-examples // batch)


def drawn(data: Sequence[Encoded], batch: int, epochs: int, seed: int) -> list[list[Encoded]]:
    """Every example once an epoch, in batches of similar length and a seeded order."""
    draw = random.Random(seed)
    batches: list[list[Encoded]] = []
    for _ in range(epochs):
        order = draw.sample(list(data), len(data))
        epoch: list[list[Encoded]] = []
        for start in range(0, len(order), batch * _STRETCH):
            stretch = sorted(order[start : start + batch * _STRETCH], key=lambda each: len(each.ids))
            epoch += [stretch[at : at + batch] for at in range(0, len(stretch), batch)]
        draw.shuffle(epoch)
        batches += epoch
    return batches


def padded(batch: Sequence[Encoded]) -> "tuple[Tensor, Tensor, Tensor]":
    """`input_ids` and `attention_mask`, int64 [batch, length of the longest], and targets, int64 [batch]."""
    import torch

    ids, mask = training.padded([each.ids for each in batch])
    return ids, mask.long(), torch.tensor([each.target for each in batch])
