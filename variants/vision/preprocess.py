"""From an encoded image to a classifier's input. Training, calibration and serving share it, so they agree."""

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from variants.document import Document
from variants.errors import InputError
from variants.vision.picture import MAX_PIXELS, picture_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image as Picture

Channels = Annotated[tuple[float, float, float], Field(description="one value a channel, RGB")]


class Preprocess(Document):
    """How an RGB image becomes `pixels`: a resize to `size` (height, width), then (x - mean) / std with x in 0..255,
    float32, channels first.

    With `short_side` the image keeps its proportions: its shorter side is resized to that many pixels, and `size` is
    cropped from its middle. With `whole` (height, width) it is resized to that, and `size` is cropped from its middle.
    """

    size: tuple[int, int]
    mean: Channels
    std: Channels
    short_side: Annotated[int, Field(gt=0)] | None = None
    whole: tuple[int, int] | None = None
    resample: Literal["nearest", "lanczos", "bilinear", "bicubic"] = "bilinear"

    @model_validator(mode="after")
    def _the_middle_is_inside(self) -> Self:
        if self.short_side is not None and self.short_side < max(self.size):
            raise ValueError(f"short_side: {self.short_side} pixels are less than the {max(self.size)} cut from them")
        if self.whole is not None and (self.whole[0] < self.size[0] or self.whole[1] < self.size[1]):
            raise ValueError(f"whole: {self.whole} is less than the {self.size} cut from it")
        if self.whole is not None and self.short_side is not None:
            raise ValueError("whole: not beside a short_side")
        return self


def pixels_of(image: bytes, preprocess: Preprocess, field: str = "image") -> "npt.NDArray[np.float32]":
    """An encoded image as `pixels`, float32 [3, height, width], prepared as `preprocess` says.

    Grey images become RGB. InputError as for `picture_of` and `resize`.
    """
    import numpy as np

    # Grey stays one channel until it is resized: three equal ones would cost three times as much.
    resized = _resized(picture_of(image, field), preprocess, field)
    values = np.asarray(resized, dtype=np.float32)
    channels = values[None] if values.ndim == 2 else values.transpose(2, 0, 1)
    mean, std = (np.asarray(each, np.float32).reshape(3, 1, 1) for each in (preprocess.mean, preprocess.std))
    return np.ascontiguousarray((channels - mean) / std, np.float32)


def _resized(image: "Picture", preprocess: Preprocess, field: str) -> "Picture":
    """`image` at `preprocess.size`, after the crop of its middle where `preprocess` has one."""
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
    """`image` at another size, in pixels, by the Pillow filter `resample`. InputError, which names `field`, where this
    takes more than MAX_PIXELS."""
    from PIL import Image

    # Pillow resizes the width first. For a narrow and very high image, this intermediate image is the largest.
    if width * max(height, image.height) > MAX_PIXELS:
        raise InputError(
            f"{image.width} x {image.height} pixels are too elongated to be resized to {width} x {height}",
            field=field,
            mend=f"sides that are less unequal: resizing takes at most {MAX_PIXELS} pixels",
        )
    return image.resize((width, height), Image.Resampling[resample.upper()])
