"""From an image file to the numbers that a classifier was trained on, as its manifest says."""

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from variants.errors import InputError
from variants.manifest import Preprocess


def to_pixels(file: bytes, preprocess: Preprocess, field: str) -> npt.NDArray[np.float32]:
    """A PNG or JPEG file as float32 [3, H, W], resized (bilinear) and normalised.

    Grey images become RGB, transparency is dropped. Raises InputError naming `field` where it is no image."""
    height, width = preprocess.size
    try:
        with Image.open(io.BytesIO(file), formats=("PNG", "JPEG")) as image:
            # Grey stays one channel until it is resized: three equal ones would cost three times as much.
            plain = image if image.mode == "L" else image.convert("RGB")
            resized = plain.resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "neither PNG nor JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"not an image: {reason}", field=field, mend="a PNG or JPEG file") from None
    pixels: npt.NDArray[Any] = np.asarray(resized, dtype=np.float32)
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    mean, std = (np.asarray(values, np.float32).reshape(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    return (channels - mean) / std
