"""Training data and loss of every method that trains a detector.

At each place of its output, and for each class, the model says how likely the middle of an object is there. The target
is a Gaussian of height 1 around each middle. The focal loss counts a place less, the nearer it is to a middle (Zhou et
al. 2019, arXiv 1904.07850, section 3). Near a middle, the loss of boxes is generalized intersection over union
(Rezatofighi et al. 2019, arXiv 1902.09630). Training is seeded and runs on one worker: the same seed on the same
machine and versions gives the same weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from variants.methods import training
from variants.progress import Step
from variants.recipes.recipe import Recovery, TrainDetector
from variants.tasks import Example
from variants.vision.boxes import Box, from_text
from variants.vision.detector import Detector
from variants.vision.letterbox import pixels_of

if TYPE_CHECKING:
    from torch import Tensor, nn

_NEAR = 0.4  # a place learns the box where the Gaussian is higher than this
_BOXES = 2.0  # the boxes' weight in the loss
_SPREAD = 6  # a box is this many standard deviations of its Gaussian wide


@dataclass(frozen=True)
class Batch:
    """Images and their targets."""

    pixels: "Tensor"  # float32 [b, 3, H, W]
    heat: "Tensor"  # float32 [b, classes, h, w], 1 at middles
    reach: "Tensor"  # float32 [b, 4, h, w], in strides to the left, top, right, bottom
    near: "Tensor"  # bool [b, h, w], where `reach` is learned

    def to(self, device: str) -> "Batch":
        """The same on torch's device of that name."""
        return Batch(*(each.to(device) for each in (self.pixels, self.heat, self.reach, self.near)))


def fit(
    model: "nn.Module",
    examples: Sequence[Example],
    labels: Sequence[str],
    detector: Detector,
    step: Step,
    recipe: TrainDetector | Recovery,
    seed: int,
) -> None:
    """AdamW under a one-cycle rate; changes `model` in place and leaves it in evaluation mode. Images are prepared as
    they are needed: 20,000 of them as float32 would take 2 GB. RecipeError when training diverges."""
    import torch

    steps = recipe.epochs * (len(examples) // recipe.batch)
    draw = torch.Generator().manual_seed(seed)
    model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]

    def losses(here: str) -> "Iterator[Tensor]":
        for chosen in training.full_batches(len(examples), recipe.batch, steps, draw):
            wanted = batch_of([examples[at] for at in chosen.tolist()], labels, detector).to(here)
            yield loss(model(wanted.pixels), wanted)

    step.to(0, steps)
    with training.on_device(model) as here:
        descent = training.one_cycle(model.parameters(), recipe.learning_rate, steps, rise=0.2)
        training.descend(descent, losses(here), step)
    model.eval()


def batch_of(examples: Sequence[Example], labels: Sequence[str], detector: Detector) -> Batch:
    """Prepared images and their targets."""
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
    """`heat`, `reach` and `near` of one image (see Batch), as numpy arrays. `scale` is the input's pixels per pixel of
    the image."""
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
        height = np.exp(-((x - middle_x) ** 2) / (2 * wide**2) - (y - middle_y) ** 2 / (2 * high**2))
        at = labels.index(box.label)
        heat[at] = np.maximum(heat[at], height)
        inside = (x > left) & (x < right) & (y > top) & (y < bottom) & (height > best)
        best[inside] = height[inside]
        reach[:, inside] = np.stack([x - left, y - top, right - x, bottom - y])[:, inside]
    return heat, reach, best > _NEAR


def loss(predictions: "Tensor", wanted: Batch) -> "Tensor":
    """The focal loss per middle, plus the loss of boxes per place near a middle."""
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
    box_loss = 1 - generalized_overlap(reach, wanted.reach.permute(0, 2, 3, 1)[wanted.near])
    return -focal.sum() / middle.sum().clamp(min=1) + _BOXES * box_loss.sum() / wanted.near.sum().clamp(min=1)


def generalized_overlap(one: "Tensor", other: "Tensor") -> "Tensor":
    """Generalized intersection over union, [n] from -1 to 1, of boxes around the same n places. Boxes are [n, 4]:
    distances to the left, top, right and bottom."""
    import torch

    def area(reach: "Tensor") -> "Tensor":
        return (reach[:, 0] + reach[:, 2]) * (reach[:, 1] + reach[:, 3])

    shared, hull = area(torch.minimum(one, other)), area(torch.maximum(one, other))
    union = area(one) + area(other) - shared
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
