"""Fitting a text classifier: labelled texts as token ids, and the loss of every method that trains one.

Seeded throughout, on one worker: the same seed on the same machine and versions gives the same weights. Batches hold
texts of like length, so that hardly anything is computed for padding: which texts come together is drawn anew in each
epoch, from stretches of a few batches that are sorted by length.
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
_NEW = 10.0  # times the rate, for a head that knows nothing yet
_HEAT = 2.0  # softens teacher and pupil alike


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
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    seed: int,
    teacher: "PreTrainedModel | None" = None,
) -> None:
    """AdamW under a rate that rises over a tenth of the steps and falls along a cosine; changes `model` in place and
    leaves it in evaluation mode.

    Only parameters that ask for a gradient are trained, and no word's embedding: few words are seen often enough, and
    half of the weights are theirs. What is no part of the encoder is a new head, and learns at ten times the rate. With
    a `teacher` the head is not new, and half of the loss is the divergence from the teacher's softened answers (Hinton
    et al. 2015, arXiv 1503.02531). RecipeError when training diverges.
    """
    from torch.nn import functional

    batches = drawn(data, batch, epochs, seed)
    model.get_input_embeddings().requires_grad_(False)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inside = set(model.base_model.parameters())
    rates = {True: learning_rate, False: learning_rate * (_NEW if teacher is None else 1)}
    groups = [{"params": [each for each in trained if (each in inside) is of], "lr": rates[of]} for of in rates]

    def losses() -> "Iterator[Tensor]":
        for some in batches:
            ids, mask, targets = padded(some)
            logits = text_classifier.logits(model, ids, mask)
            loss = functional.cross_entropy(logits, targets)
            yield loss if teacher is None else 0.5 * loss + 0.5 * apart(logits, teacher, ids, mask)

    model.train()
    training.descend(training.cosine(groups, learning_rate, len(batches), decay=0.01), losses(), step, most=1.0)
    model.eval()


def steps(examples: int, batch: int, epochs: int) -> int:
    """How many batches `fit` takes."""
    return epochs * -(-examples // batch)


def drawn(data: Sequence[Encoded], batch: int, epochs: int, seed: int) -> list[list[Encoded]]:
    """Every example once an epoch, in batches of like length and a seeded order."""
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


def padded(some: Sequence[Encoded]) -> "tuple[Tensor, Tensor, Tensor]":
    """`input_ids` and `attention_mask`, int64 [batch, length of the longest], and targets, int64 [batch]."""
    import torch

    longest = max(len(each.ids) for each in some)
    ids = torch.tensor([each.ids + [0] * (longest - len(each.ids)) for each in some])
    mask = torch.tensor([[1] * len(each.ids) + [0] * (longest - len(each.ids)) for each in some])
    return ids, mask, torch.tensor([each.target for each in some])


def apart(logits: "Tensor", teacher: "PreTrainedModel", ids: "Tensor", mask: "Tensor") -> "Tensor":
    """The divergence of the pupil's softened answers from the teacher's."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        wanted = functional.log_softmax(text_classifier.logits(teacher, ids, mask) / _HEAT, 1)
    predicted = functional.log_softmax(logits / _HEAT, 1)
    return _HEAT**2 * functional.kl_div(predicted, wanted, log_target=True, reduction="batchmean")
