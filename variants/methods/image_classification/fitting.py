"""Fitting an image classifier: labelled images as tensors, and the loss of every method that trains one.

Seeded throughout, on one worker: the same seed on the same machine and versions gives the same weights. Shifting each
batch by a few pixels is the only augmentation: what is trained here is small, and time is what it must not take.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods import training
from variants.progress import Step
from variants.tasks import Example
from variants.vision.preprocess import Preprocess

if TYPE_CHECKING:
    from torch import Generator, Tensor, nn

_SHIFT = 14  # one part in this many of the image's side, at most, in each direction
_HEAT = 2.0  # softens teacher and pupil alike


def tensors(examples: Sequence[Example], labels: tuple[str, ...], preprocess: Preprocess) -> "tuple[Tensor, Tensor]":
    """Images as float32 [n, 3, height, width] and their labels' positions as int64 [n]."""
    import numpy as np
    import torch

    from variants.vision.preprocess import pixels_of

    images = np.stack(
        [pixels_of(example.input, preprocess) for example in examples if isinstance(example.input, bytes)]
    )
    positions = [labels.index(example.label) for example in examples]
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last), torch.tensor(positions)


def fit(
    model: "nn.Module",
    data: "tuple[Tensor, Tensor]",
    step: Step,
    *,
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    teacher: "nn.Module | None" = None,
) -> None:
    """AdamW under a one-cycle rate for `steps` batches; changes `model` in place and leaves it in evaluation mode.

    Only parameters that ask for a gradient are trained; a BatchNorm whose own do not keeps its statistics too. With a
    `teacher`, half of the loss is the divergence from its softened answers (Hinton et al. 2015, arXiv 1503.02531).
    RecipeError when there are fewer images than fill one batch, or training diverges.
    """
    import torch
    from torch import nn

    pixels, targets = data
    if len(targets) < batch:
        raise RecipeError(
            f"{len(targets)} images do not fill a batch of {batch}", field="recipe", mend="a smaller batch"
        )
    draw = torch.Generator().manual_seed(seed)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    reach = pixels.shape[-1] // _SHIFT

    def losses() -> "Iterator[Tensor]":
        for chosen in _batches(len(targets), batch, steps, draw):
            shift = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
            yield _loss(model, teacher, torch.roll(pixels[chosen], shift, (2, 3)), targets[chosen])

    training.descend(training.one_cycle(trained, learning_rate, steps, rise=0.2), losses(), step)
    model.eval()


def _batches(size: int, batch: int, steps: int, draw: "Generator") -> "Iterator[Tensor]":
    """`steps` full batches of positions, every example once before any comes again."""
    import torch

    rounds = size // batch
    for count in range(steps):
        if count % rounds == 0:
            order = torch.randperm(size, generator=draw)[: rounds * batch].split(batch)
        yield order[count % rounds]


def _loss(model: "nn.Module", teacher: "nn.Module | None", pixels: "Tensor", targets: "Tensor") -> "Tensor":
    import torch
    from torch.nn import functional

    result = model(pixels)
    logits: Tensor = result if isinstance(result, torch.Tensor) else result.logits
    loss = functional.cross_entropy(logits, targets, label_smoothing=0.05)
    if teacher is None:
        return loss
    with torch.no_grad():
        wanted = functional.log_softmax(teacher(pixels) / _HEAT, 1)
    predicted = functional.log_softmax(logits / _HEAT, 1)
    apart = functional.kl_div(predicted, wanted, log_target=True, reduction="batchmean")
    return 0.5 * loss + 0.5 * _HEAT**2 * apart
