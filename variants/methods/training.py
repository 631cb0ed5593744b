"""The training loop of every method that trains: AdamW under a rate that rises and falls, one step a loss.

What a method's own is, its batches and its loss, it hands over as an iterator: each loss is computed when it is asked
for, from the weights as they then are, and whatever follows a step stands behind its `yield`.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from variants.errors import RecipeError
from variants.progress import Step

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

_WARM_UP = 0.1  # of the steps


class Descent(NamedTuple):
    """What moves the weights, and what sets its rate before each step."""

    optimizer: "Optimizer"
    rate: "LRScheduler"


def one_cycle(parameters: "Iterable[Tensor]", learning_rate: float, steps: int, *, rise: float) -> Descent:
    """A rate that rises to `learning_rate` over the share `rise` of the steps, and falls to next to nothing.
    RecipeError where the rise is one step, over which torch divides by its length, 0."""
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
    """A rate that rises over a tenth of the steps and falls along a cosine; groups of parameters may have their own."""
    import torch
    from transformers import get_cosine_schedule_with_warmup

    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=decay)
    return Descent(optimizer, get_cosine_schedule_with_warmup(optimizer, max(1, round(_WARM_UP * steps)), steps))


def descend(descent: Descent, losses: "Iterator[Tensor]", step: Step, *, most: float | None = None) -> None:
    """One step down each of the losses, on gradients that are cut to a norm of `most`. RecipeError when training
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
