"""The network that reads drawn digits: a LeNet (LeCun et al. 1998) of two convolutions, a hidden layer of 64 and ten
classes.

It computes in numpy, so evaluation, the load test's worker and the server all read alike, and none imports torch for
it.
"""

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from variants.errors import InputError
from variants.tasks.mnist import Mnist

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

SIDE = 28
TRAINING = {"version": 1, "epochs": 12, "batch": 64, "learning_rate": 3e-3, "seed": 20261125}
SHAPES = {
    "conv1.weight": (16, 1, 5, 5), "conv1.bias": (16,), "conv2.weight": (32, 16, 5, 5), "conv2.bias": (32,),
    "hidden.weight": (64, 512), "hidden.bias": (64,), "output.weight": (10, 64), "output.bias": (10,),
}  # fmt: skip
BATCH = 100


class DigitClassifier:
    """`weights` are float32 arrays of `SHAPES`."""

    labels = Mnist.labels

    def __init__(self, weights: "Mapping[str, Floats]") -> None:
        self.weights = weights

    def read(self, picture: bytes) -> str:
        """The digit that a picture shows. Raises InputError where it is no picture of 28 x 28."""
        return self.read_all([picture])[0]

    def read_all(self, pictures: Sequence[bytes]) -> list[str]:
        scores = self.features(pictures) @ self.weights["output.weight"].T + self.weights["output.bias"]
        return [self.labels[index] for index in scores.argmax(axis=1)]

    def features(self, pictures: Sequence[bytes]) -> "Floats":
        """The hidden layer's activations for each picture: float32 [n, 64]."""
        import numpy as np

        parts = [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]
        return np.concatenate([self._hidden(np.stack([pixels(picture) for picture in part])) for part in parts])

    def _hidden(self, images: "Floats") -> "Floats":
        import numpy as np

        maps = images[:, None]
        for layer in ("conv1", "conv2"):
            maps = pooled(convolved(maps, self.weights[f"{layer}.weight"], self.weights[f"{layer}.bias"]))
        flat = maps.reshape(len(images), -1)
        return np.maximum(flat @ self.weights["hidden.weight"].T + self.weights["hidden.bias"], 0)


def convolved(images: "Floats", weight: "Floats", bias: "Floats") -> "Floats":
    """Convolve [n, in, h, w] with [out, in, k, k], without padding, then ReLU: [n, out, h - k + 1, w - k + 1]."""
    import numpy as np

    size = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(2, 3))  # type: ignore[call-overload]
    sums = np.tensordot(windows, weight, axes=((1, 4, 5), (1, 2, 3)))
    activations: Floats = np.maximum(sums + bias, 0).transpose(0, 3, 1, 2)
    return activations


def pooled(images: "Floats") -> "Floats":
    """The maximum of each 2 x 2: [n, c, h / 2, w / 2]."""
    n, channels, height, width = images.shape
    maxima: Floats = images.reshape(n, channels, height // 2, 2, width // 2, 2).max(axis=(3, 5))
    return maxima


def pixels(picture: bytes) -> "Floats":
    """A picture's brightness, 0 to 1: float32 [28, 28]. Raises InputError where it is no picture of that size."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        image = Image.open(io.BytesIO(picture)).convert("L")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"no picture: {error}", field="picture", mend="a PNG") from None
    if image.size != (SIDE, SIDE):
        raise InputError(f"{image.width} x {image.height}", field="picture", mend=f"{SIDE} x {SIDE} pixels")
    brightness: Floats = np.asarray(image, dtype=np.float32) / np.float32(255)
    return brightness
