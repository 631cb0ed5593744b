"""Training, for every method that trains: batches, and a loop of AdamW under a rate that rises and falls.

A method hands its own batches and loss over as an iterator of losses. Each loss is computed when it is asked for, from
the weights as they are then. What has to follow a step stands behind the `yield`.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from variants.errors import RecipeError
from variants.machine import device
from variants.progress import Step
from variants.recipes.recipe import Diffusion, LoRA, Recovery, Train, TrainDetector, TrainText

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Training = Train | TrainText | TrainDetector | Diffusion | LoRA | Recovery
"""What says in how large batches, and at which rate, a model is trained."""
_WARM_UP = 0.1  # of the steps
_TEMPERATURE = 2.0  # of teacher and student alike


class Descent(NamedTuple):
    """What changes the weights, and what sets the learning rate before each step."""

    optimizer: "Optimizer"
    rate: "LRScheduler"


@contextmanager
def on_device(*models: "nn.Module | None") -> Iterator[str]:
    """Inside, the models are on the device whose name this gives: the GPU where torch sees one. Afterwards they are on
    the CPU again."""
    here = device()
    moved = [model for model in models if model is not None and here != "cpu"]
    for model in moved:
        model.to(here)
    try:
        yield here
    finally:
        for model in moved:
            model.to("cpu")


def one_cycle(parameters: "Iterable[Tensor]", learning_rate: float, steps: int, *, rise: float) -> Descent:
    """A rate that rises to `learning_rate` over the share `rise` of the steps, and falls to nearly zero. RecipeError
    where the rise is exactly one step: torch divides by its length, which is 0 then."""
    import torch

    if rise * steps == 1:
        mend = "one step more or fewer: by examples, epochs or batch"
        raise RecipeError(f"a rate cannot rise and fall in {steps} steps", field="recipe", mend=mend)
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=rise)
    return Descent(optimizer, rate)


def cosine(
    parameters: "Iterable[Tensor] | Iterable[dict[str, Any]]", learning_rate: float, steps: int, *, decay: float = 0.0
) -> Descent:
    """A rate that rises over a tenth of the steps and falls along a cosine. Groups of parameters may have their own
    rates."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=decay)
    return Descent(optimizer, get_cosine_schedule_with_warmup(optimizer, max(1, round(_WARM_UP * steps)), steps))


def descend(descent: Descent, losses: "Iterator[Tensor]", step: Step, *, most: float | None = None) -> None:
    """One step along the gradient of each loss; gradients are clipped to a norm of `most`. RecipeError when training
    diverges."""
    import torch

    trained = [parameter for group in descent.optimizer.param_groups for parameter in group["params"]]
    for count, loss in enumerate(losses):
        if not torch.isfinite(loss):
            raise RecipeError(f"training diverged at step {count}", field="recipe", mend="a lower learning_rate")
        descent.optimizer.zero_grad()
        loss.backward()
        if most is not None:
            torch.nn.utils.clip_grad_norm_(trained, most)
        descent.optimizer.step()
        descent.rate.step()
        step.to(count + 1)
    if not all(bool(torch.isfinite(parameter).all()) for parameter in trained):
        raise RecipeError("training diverged at its last step", field="recipe", mend="a lower learning_rate")


def check_batch(images: int, batch: int, field: str = "recipe") -> None:
    """RecipeError, naming `field`, where there are fewer images than fill one batch."""
    if images < batch:
        raise RecipeError(f"{images} images do not fill a batch of {batch}", field=field, mend="a smaller batch")


def full_batches(size: int, batch: int, steps: int, draw: "Generator") -> "Iterator[Tensor]":
    """`steps` full batches of positions below `size`, int64 [batch], in an order drawn anew in each epoch. Every
    position comes at most once an epoch."""
    import torch

    rounds = size // batch
    for count in range(steps):
        if count % rounds == 0:
            order = torch.randperm(size, generator=draw)[: rounds * batch].split(batch)
        yield order[count % rounds]


def padded(rows: Sequence[Sequence[int]]) -> "tuple[Tensor, Tensor]":
    """Token ids, int64 [rows, length of the longest], padded behind, and which of them are no padding, bool."""
    import torch

    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, torch.arange(ids.shape[1]) < lengths[:, None]


def distillation_loss(loss: "Tensor", logits: "Tensor", teacher_logits: "Tensor") -> "Tensor":
    """Half of `loss`, and half of the divergence from the teacher's softened answers (Hinton et al. 2015, arXiv
    1503.02531). Logits are float32 [batch, classes]."""
    from torch.nn import functional

    wanted = functional.log_softmax(teacher_logits / _TEMPERATURE, 1)
    predicted = functional.log_softmax(logits / _TEMPERATURE, 1)
    divergence = functional.kl_div(predicted, wanted, log_target=True, reduction="batchmean")
    return 0.5 * loss + 0.5 * _TEMPERATURE**2 * divergence
