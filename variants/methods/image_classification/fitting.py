"""Training data and loss of every method that trains an image classifier.

Everything is seeded and runs on one worker: the same seed on the same machine and versions gives the same weights. The
only augmentation shifts each batch by a few pixels: what is trained here is small and must not take long.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from variants.methods import training
from variants.progress import Step
from variants.tasks import Example
from variants.vision.preprocess import Preprocess, pixels_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHIFT = 14  # one part in this many of the image's side, at most, in each direction


def tensors(examples: Sequence[Example], labels: tuple[str, ...], preprocess: Preprocess) -> "tuple[Tensor, Tensor]":
    """Images as float32 [n, 3, height, width] and their labels' positions as int64 [n]."""
    import numpy as np
    import torch

    images = np.stack(
        [pixels_of(example.input, preprocess) for example in examples if isinstance(example.input, bytes)]
    )
    positions = [labels.index(example.label) for example in examples]
    return torch.from_numpy(images).contiguous(memory_format=torch.channels_last), torch.tensor(positions)


def fit(
    model: "nn.Module",
    data: "tuple[Tensor, Tensor]",
    step: Step,
    recipe: training.Training,
    *,
    steps: int,
    seed: int,
    teacher: "nn.Module | None" = None,
) -> None:
    """AdamW under a one-cycle rate for `steps` batches; changes `model` in place and leaves it in evaluation mode.

    Only parameters that require a gradient are trained. A BatchNorm whose parameters do not keeps its statistics too.
    With a `teacher`, half of the loss is the divergence from its answers. RecipeError when there are fewer images than
    fill one batch, or training diverges.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    pixels, targets = data
    training.check_batch(len(targets), recipe.batch)
    draw = torch.Generator().manual_seed(seed)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and not module.weight.requires_grad:
            module.eval()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    reach = pixels.shape[-1] // _SHIFT

    def losses(here: str) -> "Iterator[Tensor]":
        for chosen in training.full_batches(len(targets), recipe.batch, steps, draw):
            shift = torch.randint(-reach, reach + 1, (2,), generator=draw).tolist()
            shifted = torch.roll(pixels[chosen], shift, (2, 3)).to(here)
            output = model(shifted)
            logits: Tensor = output if isinstance(output, torch.Tensor) else output.logits
            loss = functional.cross_entropy(logits, targets[chosen].to(here), label_smoothing=0.05)
            if teacher is not None:
                with torch.no_grad():
                    teacher_logits = teacher(shifted)
                loss = training.distillation_loss(loss, logits, teacher_logits)
            yield loss

    with training.on_device(model, teacher) as here:
        training.descend(training.one_cycle(trained, recipe.learning_rate, steps, rise=0.2), losses(here), step)
    model.eval()
