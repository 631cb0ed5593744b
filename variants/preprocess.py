"""From an encoded image to the numbers a classifier takes. Training, calibration and serving share this one function,
so no variant sees its images another way than it was made with."""

from io import BytesIO
from typing import TYPE_CHECKING

from variants.errors import InputError
from variants.manifest import Preprocess

if TYPE_CHECKING:
    import numpy as np

# Side by side, 50 million pixels are 150 MB of memory: more is an attack or a mistake.
MAX_PIXELS = 50_000_000


def pixels_of(image: bytes, preprocess: Preprocess) -> "np.ndarray":
    """An encoded image (PNG, JPEG) as `pixels`, float32 [3, height, width]: RGB, resized (bilinear), (x - mean) /
    std.

    InputError when the bytes are no image, or one of more than MAX_PIXELS.
    """
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    height, width = preprocess.size
    try:
        encoded = Image.open(BytesIO(image), formats=("PNG", "JPEG"))
        if encoded.width * encoded.height > MAX_PIXELS:
            raise InputError(
                f"the image has {encoded.width} x {encoded.height} pixels", field="image", mend=f"at most {MAX_PIXELS}"
            )
        picture = encoded.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"not a readable image: {error}", field="image", mend="send a PNG or JPEG") from error
    mean, std = np.array(preprocess.mean, np.float32), np.array(preprocess.std, np.float32)
    values = (np.asarray(picture, np.float32) - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)
