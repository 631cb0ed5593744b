"""From an encoded image to the numbers a classifier takes. Training, calibration and serving share this one function,
so no variant sees its images another way than it was made with."""

from io import BytesIO
from typing import TYPE_CHECKING

from variants.artifacts.manifest import Preprocess
from variants.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image as Picture

# As RGB, 50 million pixels are 150 MB of memory: more is an attack or a mistake.
MAX_PIXELS = 50_000_000


def pixels_of(image: bytes, preprocess: Preprocess, field: str = "image") -> "npt.NDArray[np.float32]":
    """An encoded image (PNG, JPEG) as `pixels`, float32 [3, height, width]: RGB, resized and where it is so said cut,
    (x - mean) / std.

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
            # Grey stays one channel until it is resized: three equal ones would cost three times as much.
            plain = opened if opened.mode == "L" else opened.convert("RGB")
            resized = _resized(plain, preprocess, field)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "neither PNG nor JPEG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise InputError(f"not an image: {reason}", field=field, mend="a PNG or JPEG file") from error
    values = np.asarray(resized, dtype=np.float32)
    channels = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    mean, std = (np.asarray(each, np.float32).reshape(3, 1, 1) for each in (preprocess.mean, preprocess.std))
    return np.ascontiguousarray((channels - mean) / std, np.float32)


def _resized(image: "Picture", preprocess: Preprocess, field: str) -> "Picture":
    """`image` at `preprocess.size`: squeezed to it, or its middle, at its own proportions or squeezed before."""
    height, width = preprocess.size
    high, wide = preprocess.whole or preprocess.size
    if preprocess.short_side is not None:
        wide, high = (side * preprocess.short_side // min(image.size) for side in image.size)
    whole = resize(image, wide, high, field, preprocess.resample)
    if whole.size == (width, height):
        return whole
    left, top = round((whole.width - width) / 2), round((whole.height - height) / 2)
    return whole.crop((left, top, left + width, top + height))


def resize(image: "Picture", width: int, height: int, field: str, resample: str = "bilinear") -> "Picture":
    """`image` at another size, by one of Pillow's filters. InputError naming `field` where that takes more than
    MAX_PIXELS."""
    from PIL import Image

    # Pillow changes the width first: of a narrow and very high image, what it holds between is the largest.
    if width * max(height, image.height) > MAX_PIXELS:
        raise InputError(
            f"{image.width} x {image.height} pixels are too elongated to be resized to {width} x {height}",
            field=field,
            mend=f"sides that are less unequal: resizing takes at most {MAX_PIXELS} pixels",
        )
    return image.resize((width, height), Image.Resampling[resample.upper()])
