"""From an encoded image to the picture that a person sees. Classifiers and detectors read images by this module alone.

- The orientation that EXIF names is applied.
- 16 bits a channel become 8: 65,535 is white.
- Transparent pixels are mixed with white.
- Of an animation, the first picture is read.
- Colour profiles are ignored.
"""

from collections.abc import Iterable
from io import BytesIO
from typing import TYPE_CHECKING

from variants.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageFile import ImageFile

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
FILES = "a PNG, JPEG, WebP or GIF file"
WHITE = (255, 255, 255)
MEGAPIXELS = 50
"""Of one image. As RGB, these take 200 MB of memory."""
MAX_PIXELS = MEGAPIXELS * 1_000_000
MEGAPIXELS_IN_ALL = 200
"""Of all images of one request."""
GREY_STEPS = {"L;2": 85, "L;4": 17}
"""By Pillow's raw mode: the distance between two greys of a PNG with 2 or 4 bits, after they are scaled to 0..255."""


def picture_of(image: bytes, field: str) -> "Picture":
    """The picture in an encoded image: upright, of mode "L" or "RGB", 8 bits a channel.

    InputError, which names `field`, for bytes that are no complete PNG, JPEG, WebP or GIF, and for an image above
    MAX_PIXELS. Its header says so: nothing is decoded then.
    """
    from PIL import ExifTags, ImageOps

    opened = _opened(image, field)
    try:
        picture = _opaque(opened)
    except Exception as error:  # damaged files raise OSError, SyntaxError, struct.error, EOFError, ...
        raise _refused(error, field) from error
    try:
        orientation = opened.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF; image viewers ignore it too
        orientation = None
    if orientation in range(2, 9):
        # Without the other tags, because Pillow writes all tags again, and some cannot be written.
        picture.info = {}
        picture.getexif()[ExifTags.Base.Orientation] = orientation
        ImageOps.exif_transpose(picture, in_place=True)
    return picture


def check_total(images: Iterable[bytes], field: str) -> None:
    """Reads the headers of all images of one request. InputError, which names `field` and the image, as for
    `picture_of`; InputError for more than MEGAPIXELS_IN_ALL together."""
    total = 0
    for i, image in enumerate(images):
        opened = _opened(image, f"{field}[{i}]")
        total += opened.width * opened.height
        if total > MEGAPIXELS_IN_ALL * 1_000_000:
            message = f"the first {i + 1} images have {total} pixels"
            raise InputError(message, field=field, mend=f"at most {MEGAPIXELS_IN_ALL} megapixels in one request")


def _opened(image: bytes, field: str) -> "ImageFile":
    """The image with its header read and its pixels not decoded. InputError as for `picture_of`."""
    from PIL import Image, UnidentifiedImageError

    try:
        opened = Image.open(BytesIO(image), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise InputError("not an image: neither PNG nor JPEG, WebP or GIF", field=field, mend=FILES) from error
    except Image.DecompressionBombError as error:
        message = "the image has more than twice the pixels allowed"
        raise InputError(message, field=field, mend=f"at most {MEGAPIXELS} megapixels") from error
    except Exception as error:  # as in `picture_of`
        raise _refused(error, field) from error
    if opened.width * opened.height > MAX_PIXELS:
        message = f"the image has {opened.width} x {opened.height} pixels"
        raise InputError(message, field=field, mend=f"at most {MEGAPIXELS} megapixels")
    return opened


def _refused(error: Exception, field: str) -> InputError:
    return InputError(f"not an image: {error}", field=field, mend=f"{FILES}, complete and undamaged")


def _opaque(opened: "ImageFile") -> "Picture":
    """The decoded picture on white, of mode "L" or "RGB", not turned."""
    from PIL import Image

    # WebP has no tile before it is decoded.
    raw, drawn = (opened.tile[0].args, opened.tile[0].extents) if opened.tile else (None, None)
    if opened.mode.startswith("I"):
        return _eight_bits(opened)
    if not opened.has_transparency_data:
        picture = opened.convert("L" if opened.mode in ("1", "L") else "RGB")
    else:
        if raw in GREY_STEPS:
            opened.info["transparency"] *= GREY_STEPS[raw]
        elif raw == "RGB;16B":  # Pillow keeps the high bytes of the pixels alone
            opened.info["transparency"] = tuple(channel >> 8 for channel in opened.info["transparency"])
        seen = opened.convert("RGBA")
        picture = Image.new("RGB", seen.size, WHITE)
        picture.paste(seen, mask=seen)
    if opened.format != "GIF" or drawn in (None, (0, 0, *picture.size)):
        return picture
    # A GIF's first picture may leave a part of the area empty.
    whole = Image.new("RGB", picture.size, WHITE)
    whole.paste(picture.crop(drawn), drawn)
    return whole


def _eight_bits(opened: "ImageFile") -> "Picture":
    """A 16-bit grey picture as "L". Pillow's own conversion makes everything above 255 white."""
    import numpy as np
    from PIL import Image

    values = np.asarray(opened)
    grey = (values >> 8).astype(np.uint8)
    if (clear := opened.info.get("transparency")) is not None:
        grey[values == clear] = WHITE[0]
    return Image.fromarray(grey)
