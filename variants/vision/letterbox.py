"""From an encoded image to a detector's input, proportions kept. Training, calibration and serving share this one
function, so no variant sees its images another way than it was made with.

The image is scaled to fit; the rest, at right and bottom, is filled with the detector's `pad`. A detector that was
trained on stretched images gets them stretched.
"""

from io import BytesIO
from typing import TYPE_CHECKING

from variants.errors import InputError
from variants.vision.detector import Detector
from variants.vision.preprocess import MAX_PIXELS, resize

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


def pixels_of(
    image: bytes, detector: Detector, field: str = "image"
) -> "tuple[npt.NDArray[np.float32], tuple[float, float], tuple[int, int]]":
    """An encoded image (PNG, JPEG) as the detector's input, float32 [3, height, width]; by how much it was scaled
    across and down; its own width and height.

    Grey images become RGB, transparency is dropped. InputError naming `field` when the bytes are no image, or one of
    more than MAX_PIXELS, resized or not.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(BytesIO(image), formats=("PNG", "JPEG")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise InputError(
                    f"the image has {opened.width} x {opened.height} pixels", field=field, mend=f"at most {MAX_PIXELS}"
                )
            values, scale = _fitted(opened.convert("RGB"), detector, field)
            width, height = opened.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "neither PNG nor JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"not an image: {reason}", field=field, mend="a PNG or JPEG file") from error
    ordered = values if detector.channels == "RGB" else values[..., ::-1]
    prepared = (ordered.transpose(2, 0, 1) - np.float32(detector.mean)) / np.float32(detector.std)
    return np.ascontiguousarray(prepared, np.float32), scale, (width, height)


def _fitted(
    image: "Image.Image", detector: Detector, field: str
) -> "tuple[npt.NDArray[np.float32], tuple[float, float]]":
    """RGB values, float32 [height, width, 3], padded, and the scales across and down."""
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
