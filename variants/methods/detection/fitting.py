"""Fitting a detector: scenes and their boxes as tensors, and the loss of every method that trains one.

At every place a class is asked for whether the middle of its object is here: a bell of height 1 around each middle is
what is wanted, and the focal loss counts places near it less the nearer they are (Zhou et al. 2019, arXiv 1904.07850,
section 3). Near a middle, boxes are judged by generalized intersection over union (Rezatofighi et al. 2019, arXiv
1902.09630). Seeded, on one worker: the same seed on the same machine and versions gives the same weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from variants.errors import RecipeError
from variants.methods import training
from variants.methods.examples import first
from variants.progress import Step
from variants.tasks import Example
from variants.tasks.base import Task
from variants.vision.boxes import Box, from_text
from variants.vision.detector import Detector
from variants.vision.letterbox import pixels_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_NEAR = 0.4  # height of the bell from which on a place learns the box
_BOXES = 2.0  # the boxes' weight in the loss
_SPREAD = 6  # a box is this many standard deviations of its bell wide


@dataclass(frozen=True)
class Batch:
    """`pixels` float32 [b, 3, H, W]; `heat` float32 [b, classes, h, w], 1 at middles; `reach` float32 [b, 4, h, w],
    strides to the left, top, right, bottom; `near` bool [b, h, w], where `reach` is learnt."""

    pixels: "Tensor"
    heat: "Tensor"
    reach: "Tensor"
    near: "Tensor"


def train_examples(task: Task, examples: int, batch: int, field: str) -> list[Example]:
    """The first of the training split. RecipeError, naming `field`, when there are too few, or not one batch."""
    chosen = first(task, "train", examples, field)
    if len(chosen) < batch:
        raise RecipeError(f"{len(chosen)} images do not fill a batch of {batch}", field=field, mend="a smaller batch")
    return chosen


def fit(
    model: "nn.Module",
    examples: Sequence[Example],
    labels: Sequence[str],
    detector: Detector,
    step: Step,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    seed: int,
) -> None:
    """AdamW under a one-cycle rate; changes `model` in place and leaves it in evaluation mode. Images are prepared as
    they are needed: 20,000 of them as float32 would take 2 GB. RecipeError when training diverges."""
    import torch

    steps = epochs * (len(examples) // batch)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def losses() -> "Iterator[Tensor]":
        for chosen in _batches(len(examples), batch, epochs, seed):
            wanted = batch_of([examples[at] for at in chosen], labels, detector)
            yield loss(model(wanted.pixels), wanted)

    step.to(0, steps)
    training.descend(training.one_cycle(model.parameters(), learning_rate, steps, rise=0.2), losses(), step)
    model.eval()


def _batches(size: int, batch: int, epochs: int, seed: int) -> Iterator[list[int]]:
    """Full batches of positions, every example once an epoch."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(size, generator=draw).tolist()
        for start in range(0, size - batch + 1, batch):
            yield order[start : start + batch]


def batch_of(examples: Sequence[Example], labels: Sequence[str], detector: Detector) -> Batch:
    """Images and what is wanted of them."""
    import numpy as np
    import torch

    images, wanted = [], []
    for example in examples:
        assert isinstance(example.input, bytes)
        image, (scale, _), _ = pixels_of(example.input, detector)
        images.append(image)
        wanted.append(targets(from_text(example.label), scale, labels, detector))
    heat, reach, near = (torch.from_numpy(np.stack(parts)) for parts in zip(*wanted, strict=True))
    pixels = torch.from_numpy(np.stack(images)).contiguous(memory_format=torch.channels_last)
    return Batch(pixels, heat, reach, near)


def targets(boxes: Sequence[Box], scale: float, labels: Sequence[str], detector: Detector):  # type: ignore[no-untyped-def]
    """`heat`, `reach` and `near` of one image (see Batch), as numpy arrays; `scale` is from the image to the input."""
    import numpy as np

    stride = detector.strides[0]
    rows, columns = detector.size[0] // stride, detector.size[1] // stride
    y, x = np.mgrid[:rows, :columns] + 0.5
    heat = np.zeros((len(labels), rows, columns), np.float32)
    reach, best = np.zeros((4, rows, columns), np.float32), np.full((rows, columns), _NEAR)
    for box in boxes:
        left, top, right, bottom = (side * scale / stride for side in box[1:5])
        middle_x = min(int((left + right) / 2), columns - 1) + 0.5
        middle_y = min(int((top + bottom) / 2), rows - 1) + 0.5
        wide, high = (right - left) / _SPREAD, (bottom - top) / _SPREAD
        bell = np.exp(-((x - middle_x) ** 2) / (2 * wide**2) - (y - middle_y) ** 2 / (2 * high**2))
        at = labels.index(box.label)
        heat[at] = np.maximum(heat[at], bell)
        inside = (x > left) & (x < right) & (y > top) & (y < bottom) & (bell > best)
        best[inside] = bell[inside]
        reach[:, inside] = np.stack([x - left, y - top, right - x, bottom - y])[:, inside]
    return heat, reach, best > _NEAR


def loss(predictions: "Tensor", wanted: Batch) -> "Tensor":
    """The focal loss of the middles, a middle, plus that of the boxes, a place."""
    import torch
    from torch.nn import functional

    classes = wanted.heat.shape[1]
    share = predictions[:, :classes].sigmoid().clamp(1e-4, 1 - 1e-4)
    middle = wanted.heat == 1
    focal = torch.where(
        middle,
        (1 - share) ** 2 * share.log(),
        (1 - wanted.heat) ** 4 * share**2 * (1 - share).log(),
    )
    reach = functional.softplus(predictions[:, classes:]).permute(0, 2, 3, 1)[wanted.near]
    apart = 1 - generalized_overlap(reach, wanted.reach.permute(0, 2, 3, 1)[wanted.near])
    return -focal.sum() / middle.sum().clamp(min=1) + _BOXES * apart.sum() / wanted.near.sum().clamp(min=1)


def generalized_overlap(one: "Tensor", other: "Tensor") -> "Tensor":
    """Of boxes around the same places, as reaches [n, 4] to the left, top, right, bottom: [n], from -1 to 1."""
    import torch

    def area(reach: "Tensor") -> "Tensor":
        return (reach[:, 0] + reach[:, 2]) * (reach[:, 1] + reach[:, 3])

    shared, hull = area(torch.minimum(one, other)), area(torch.maximum(one, other))
    union = area(one) + area(other) - shared
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
