"""Scenes: where are which digits? One to five MNIST digits on a grey canvas of 96 x 96, at random places and sizes.

They are composed of the digits of `mnist`. Each split has its own digits: those of `test` are MNIST's test digits. The
canvas is grey and noisy; digits are 16 to 44 pixels high and overlap a little. A box is that of a digit's ink. Scene k
of a split depends on (seed, split, k) alone. It is drawn when it is asked for, because the training split is long and
few callers need it. A digit occurs in several scenes of its split, so an interval over many scenes is a little too
narrow.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from variants.metrics.detection import METRICS
from variants.tasks.base import SEED, Example, Split, Task
from variants.tasks.mnist import Mnist, grey_digits, png
from variants.vision.boxes import Box, overlap, to_text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIDE = 96
SCENES: dict[Split, int] = {"test": 500, "calibration": 300, "train": 20_000}
_MOST_DIGITS = 5
_SIZES = 18, 44  # pixels of the 28 x 28 square around a digit, after scaling
_INK = 64  # grey values from which on a pixel belongs to the digit
_CROWDED = 0.05  # most that two boxes overlap
_TRIES = 12


class Scenes(Task):
    """PNG scenes; the label is the boxes as `variants.vision.boxes` writes them. `test` 500, `calibration` 300, `train`
    20,000."""

    name = "scenes"
    kind = "boxes"
    metrics = METRICS
    labels = Mnist.labels
    sources = Mnist.sources

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        digits = grey_digits(files[0])
        return {split: _Composed(split, digits[split], count) for split, count in SCENES.items()}


class _Composed(Sequence[Example]):
    """Scenes, each composed when it is read."""

    def __init__(self, split: Split, digits: "Sequence[tuple[npt.NDArray[np.uint8], str]]", count: int) -> None:
        self._split, self._digits, self._count = split, digits, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> Example: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Example]: ...
    def __getitem__(self, at: int | slice) -> Example | Sequence[Example]:
        if isinstance(at, slice):
            return [self._scene(k) for k in range(*at.indices(self._count))]
        if not -self._count <= at < self._count:
            raise IndexError(at)
        return self._scene(at % self._count)

    def _scene(self, k: int) -> Example:
        import numpy as np

        draw = np.random.default_rng((SEED, list(SCENES).index(self._split), k))
        canvas, boxes = compose(self._digits, draw)
        return Example(f"scene-{self._split}-{k:05d}", png(canvas, compress_level=1), to_text(boxes))


def compose(
    digits: "Sequence[tuple[npt.NDArray[np.uint8], str]]", draw: "np.random.Generator"
) -> "tuple[npt.NDArray[np.uint8], list[Box]]":
    """A canvas, uint8 [96, 96], and the boxes on it, at least one. `digits` are uint8 [28, 28], each with its label."""
    import numpy as np
    from PIL import Image

    canvas = np.clip(draw.normal(draw.uniform(0, 70), 8, (SIDE, SIDE)), 0, 255)
    boxes: list[Box] = []
    for _ in range(draw.integers(1, _MOST_DIGITS + 1)):
        grey, label = digits[int(draw.integers(len(digits)))]
        side = int(draw.integers(_SIZES[0], _SIZES[1] + 1))
        drawn = np.asarray(Image.fromarray(grey).resize((side, side), Image.Resampling.BILINEAR))
        bright = draw.uniform(0.7, 1.0)
        for _ in range(_TRIES):
            left, top = (int(place) for place in draw.integers(0, SIDE - len(drawn) + 1, 2))
            box = _box_of_ink(drawn, left, top, label)
            if all(overlap(box, other) <= _CROWDED for other in boxes):
                under = canvas[top : top + len(drawn), left : left + len(drawn)]
                np.maximum(under, drawn * bright, out=under)
                boxes.append(box)
                break
    return canvas.astype(np.uint8), boxes


def _box_of_ink(drawn: "npt.NDArray[np.uint8]", left: int, top: int, label: str) -> Box:
    rows, columns = ((drawn >= _INK).sum(axis=axis).nonzero()[0] for axis in (1, 0))
    sides = left + columns[0], top + rows[0], left + columns[-1] + 1, top + rows[-1] + 1
    return Box(label, *map(float, sides))
