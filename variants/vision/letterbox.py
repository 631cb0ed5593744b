"""From an encoded image to a detector's input. Training, calibration and serving share it, so they agree.

The image is scaled to fit with its proportions. The rest, at right and bottom, is filled with the detector's `pad`. A
detector that was trained on stretched images gets stretched images.
"""

from typing import TYPE_CHECKING

from variants.vision.detector import Detector
from variants.vision.picture import picture_of
from variants.vision.preprocess import resize

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


def pixels_of(
    image: bytes, detector: Detector, field: str = "image"
) -> "tuple[npt.NDArray[np.float32], tuple[float, float], tuple[int, int]]":
    """An encoded image as a detector's input, its scales, and its size.

    The input is float32 [3, height, width]. The scales are those of width and height. The size is the width and height
    of the upright picture, in pixels. Grey images become RGB. InputError as for `picture_of` and `resize`.
    """
    import numpy as np

    picture = picture_of(image, field).convert("RGB")
    values, scale = _fitted(picture, detector, field)
    ordered = values if detector.channels == "RGB" else values[..., ::-1]
    prepared = (ordered.transpose(2, 0, 1) - np.float32(detector.mean)) / np.float32(detector.std)
    return np.ascontiguousarray(prepared, np.float32), scale, picture.size


def _fitted(
    image: "Image.Image", detector: Detector, field: str
) -> "tuple[npt.NDArray[np.float32], tuple[float, float]]":
    """RGB values, float32 [height, width, 3], padded, and the scales of width and height."""
    import numpy as np

    height, width = detector.size
    if detector.fit == "stretch":
        stretched = resize(image, width, height, field)
        return np.asarray(stretched, np.float32), (width / image.width, height / image.height)
    scale = min(height / image.height, width / image.width)
    inner = max(1, int(image.width * scale)), max(1, int(image.height * scale))
    values = np.full((height, width, 3), detector.pad, np.float32)
    values[: inner[1], : inner[0]] = np.asarray(resize(image, *inner, field))
    return values, (scale, scale)
