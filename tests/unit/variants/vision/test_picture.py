"""Images as a person sees them: each form of one picture gives the pixels of its plain PNG."""

import contextlib
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from variants.errors import InputError
from variants.vision.detector import Detector
from variants.vision.letterbox import pixels_of as detector_pixels
from variants.vision.picture import check_total, picture_of

TURN = Image.Transpose
STORED = {
    2: TURN.FLIP_LEFT_RIGHT, 3: TURN.ROTATE_180, 4: TURN.FLIP_TOP_BOTTOM, 5: TURN.TRANSPOSE,
    6: TURN.ROTATE_90, 7: TURN.TRANSVERSE, 8: TURN.ROTATE_270,
}  # fmt: skip
"""What a camera did to the upright picture, by the orientation that it notes."""


def drawn() -> Image.Image:
    """A grey picture of 40 x 24 pixels without any symmetry."""
    picture = Image.new("L", (40, 24), 10)
    pen = ImageDraw.Draw(picture)
    pen.rectangle((2, 2, 20, 8), fill=250)
    pen.rectangle((30, 12, 36, 22), fill=120)
    return picture


def saved(picture: Image.Image, form: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **how)
    return file.getvalue()


def values(image: bytes) -> np.ndarray:
    return np.asarray(picture_of(image, "image").convert("RGB")).astype(int)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, bits: int, colour: int, row: bytes, clear: bytes | None = None, height: int = 1) -> bytes:
    """A PNG of one row, written by hand: Pillow saves neither every depth nor every transparent colour."""
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [chunk(b"IHDR", head), chunk(b"tRNS", clear) if clear else b"", chunk(b"IDAT", zlib.compress(b"\0" + row))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND", b"")


def oriented(orientation: Any) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_the_orientation_of_exif_is_applied(orientation: int, form: str) -> None:
    how: dict[str, Any] = {"JPEG": {"quality": 100}, "WEBP": {"lossless": True}}.get(form, {})
    file = saved(drawn().transpose(STORED[orientation]), form, exif=oriented(orientation), **how)
    assert picture_of(file, "image").size == (40, 24)
    assert np.abs(values(file) - values(saved(drawn()))).max() <= (2 if form == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 1, 9, 65535])
def test_an_orientation_that_says_nothing_turns_nothing(orientation: int) -> None:
    assert (values(saved(drawn(), exif=oriented(orientation))) == values(saved(drawn()))).all()


def test_exif_that_cannot_be_written_again_still_turns() -> None:
    """Tag 34665 is a pointer to more tags. As text, Pillow reads it and fails when it writes it."""
    tags = struct.pack("<HHHIHH", 2, 0x0112, 3, 1, 6, 0) + struct.pack("<HHI4s", 0x8769, 2, 4, b"abc\0") + bytes(4)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + tags
    file = saved(drawn().transpose(TURN.ROTATE_90), exif=exif)
    assert (values(file) == values(saved(drawn()))).all()


def test_damaged_exif_is_ignored_as_image_viewers_do() -> None:
    for exif in (b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"\0"):
        assert (values(saved(drawn(), exif=exif)) == values(saved(drawn()))).all()


def test_boxes_of_a_detector_are_in_the_upright_picture() -> None:
    detector = Detector.model_validate({"decoder": "yolox", "size": [32, 64], "strides": [8, 16]})
    upright = detector_pixels(saved(drawn()), detector)
    turned = detector_pixels(saved(drawn().transpose(TURN.ROTATE_90), exif=oriented(6)), detector)
    assert turned[1:] == upright[1:] == ((32 / 24, 32 / 24), (40, 24))
    assert (turned[0] == upright[0]).all()


def test_16_bits_become_8_by_their_range() -> None:
    samples = np.array([0, 255, 256, 32768, 65535])
    assert values(png(5, 16, 0, samples.astype(">u2").tobytes()))[0, :, 0].tolist() == [0, 0, 1, 128, 255]
    assert picture_of(png(5, 16, 0, samples.astype(">u2").tobytes()), "image").mode == "L"
    twin = np.arange(256)
    assert values(png(256, 16, 0, (twin * 257).astype(">u2").tobytes()))[0, :, 0].tolist() == twin.tolist()
    rgb = np.repeat(twin * 257, 3).astype(">u2").tobytes()
    assert values(png(256, 16, 2, rgb))[0, :, 1].tolist() == twin.tolist()


def test_transparent_pixels_are_mixed_with_white() -> None:
    ink = Image.new("RGBA", (3, 1), (0, 0, 0, 0))
    ink.putpixel((1, 0), (200, 0, 0, 255))
    ink.putpixel((2, 0), (0, 0, 0, 51))
    seen = [[255, 255, 255], [200, 0, 0], [204, 204, 204]]
    assert values(saved(ink))[0].tolist() == seen
    assert values(saved(ink, "WEBP", lossless=True))[0].tolist() == seen
    grey = Image.merge("LA", (Image.new("L", (2, 1), 0), Image.frombytes("L", (2, 1), b"\0\xff")))
    assert values(saved(grey))[0, :, 0].tolist() == [255, 0]
    palette = Image.frombytes("P", (3, 1), b"\0\1\2")
    palette.putpalette([255, 0, 255, 0, 0, 0, 0, 90, 0])
    for form in ("PNG", "GIF"):
        shown = values(saved(palette, form, transparency=0))[0].tolist()
        assert shown == [[255, 255, 255], [0, 0, 0], [0, 90, 0]]
    assert values(saved(palette, transparency=b"\0\xff\x33"))[0].tolist()[2] == [204, 222, 204]


@pytest.mark.parametrize(
    ("file", "seen"),
    [
        (png(4, 1, 0, b"\x40", b"\0\1"), [0, 255, 0, 0]),
        (png(4, 2, 0, b"\x1b", b"\0\0"), [255, 85, 170, 255]),
        (png(4, 2, 0, b"\x1b", b"\0\1"), [0, 255, 170, 255]),
        (png(4, 4, 0, b"\x01\x23", b"\0\2"), [0, 17, 255, 51]),
        (png(4, 8, 0, b"\0\1\2\3", b"\0\2"), [0, 1, 255, 3]),
        (png(2, 16, 0, b"\x80\x12\x81\x12", b"\x80\x12"), [255, 129]),
        (png(2, 16, 2, b"\x80\x12" * 3 + b"\x81\x12" * 3, b"\x80\x12" * 3), [255, 129]),
        (png(2, 16, 4, b"\x80\0\xff\xff\x80\0\0\0"), [128, 255]),
    ],
)
def test_a_transparent_grey_of_any_depth_is_white(file: bytes, seen: list[int]) -> None:
    assert values(file)[0, :, 0].tolist() == seen


def test_other_forms_show_the_same_picture() -> None:
    plain, rgb = values(saved(drawn())), drawn().convert("RGB")
    later = [Image.new("L", (40, 24), 255)]
    assert (values(saved(rgb, "WEBP", lossless=True)) == plain).all()
    assert (values(saved(drawn(), "GIF", save_all=True, append_images=later)) == plain).all()
    assert (values(saved(rgb, "WEBP", lossless=True, save_all=True, append_images=later)) == plain).all()
    assert (values(saved(drawn(), save_all=True, append_images=later)) == plain).all()
    assert (values(saved(drawn().convert("P"))) == plain).all()
    assert (values(saved(rgb.quantize(16), "GIF")) == plain).all()
    for mode, how in (("RGB", {"progressive": True}), ("CMYK", {}), ("L", {})):
        assert np.abs(values(saved(rgb.convert(mode), "JPEG", quality=100, subsampling=0, **how)) - plain).max() <= 3
    assert (values(saved(drawn().convert("1"))) == np.asarray(drawn().convert("1").convert("RGB"))).all()


def test_a_gif_is_white_where_its_first_picture_draws_nothing() -> None:
    file = bytearray(saved(Image.new("L", (2, 1), 0), "GIF"))
    file[6:8] = struct.pack("<H", 4)  # the width of the whole
    at = file.index(b"\x2c")
    file[at + 1 : at + 3] = struct.pack("<H", 1)  # where the picture begins
    assert values(bytes(file))[0, :, 0].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize(("form", "end"), [("JPEG", 2), ("WEBP", 1), ("GIF", 4), ("PNG", 24)])
def test_an_image_that_was_cut_off_is_refused_wherever_it_was_cut(form: str, end: int) -> None:
    """All but the last `end` bytes are pixels and what comes before them; PNG's and GIF's endings say nothing more."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 40, 3), dtype=np.uint8))
    file = saved(noise, form)
    for length in [*range(0, len(file) - end, 7), len(file) - end - 1]:
        with pytest.raises(InputError, match="not an image") as refused:
            picture_of(file[:length], "inputs[0].data[3]")
        assert refused.value.field == "inputs[0].data[3]"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_damaged_image_is_read_or_refused(form: str) -> None:
    good, draw = saved(drawn().convert("RGB"), form, exif=oriented(6)), np.random.default_rng(0)
    for _ in range(300):
        file = bytearray(good)
        for at in draw.integers(0, len(file), 3):
            file[at] = draw.integers(0, 256)
        with contextlib.suppress(InputError):
            assert picture_of(bytes(file), "image").mode in ("L", "RGB")


@pytest.mark.parametrize("form", ["PNG", "GIF"])
def test_pixels_are_counted_before_they_are_decoded(form: str) -> None:
    file = saved(Image.new("1", (8000, 8000)), form)
    with pytest.raises(InputError, match=r"8000 x 8000 pixels.*at most 50 megapixels"):
        picture_of(file, "image")
    cut = file[: len(file) // 2]  # decoding this would fail with another message
    with pytest.raises(InputError, match="at most 50 megapixels"):
        picture_of(cut, "image")
    with pytest.raises(InputError, match="at most 50 megapixels"):
        picture_of(png(60_000, 1, 0, b"", height=60_000), "image")


def test_the_images_of_one_request_are_bounded_together() -> None:
    file = saved(Image.new("1", (7000, 7000)))
    check_total([file] * 4, "inputs[0].data")
    with pytest.raises(InputError, match=r"the first 5 images have 245000000 pixels.*200 megapixels") as refused:
        check_total([file] * 5, "inputs[0].data")
    assert refused.value.field == "inputs[0].data"
    with pytest.raises(InputError, match="not an image") as refused:
        check_total([file, b"nothing"], "inputs[0].data")
    assert refused.value.field == "inputs[0].data[1]"
