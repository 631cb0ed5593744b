from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from variants.errors import InputError
from variants.vision.preprocess import Preprocess, pixels_of

AS_IT_IS = Preprocess(size=(2, 3), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def test_channels_come_first_and_each_has_its_own_mean_and_std() -> None:
    image = Image.new("RGB", (3, 2), (10, 20, 30))
    image.putpixel((2, 0), (255, 0, 127))  # x 2, y 0: last column of the first row
    pixels = pixels_of(png(image), AS_IT_IS)
    assert pixels.shape == (3, 2, 3)
    assert pixels.dtype == np.float32
    assert pixels[:, 0, 2].tolist() == [255, 0, 127]
    scaled = pixels_of(png(image), Preprocess(size=(2, 3), mean=(10, 20, 30), std=(1, 2, 4)))
    assert scaled[:, 1, 0].tolist() == [0, 0, 0]
    assert scaled[:, 0, 2].tolist() == [245, -10, 24.25]


def test_grey_becomes_three_equal_channels_of_the_wanted_size() -> None:
    pixels = pixels_of(png(Image.new("L", (28, 28), 200)), Preprocess(size=(64, 48), mean=(127,) * 3, std=(128,) * 3))
    assert pixels.shape == (3, 64, 48)
    assert np.allclose(pixels, (200 - 127) / 128)


@pytest.mark.parametrize("data", [b"", b"hello", png(Image.new("L", (64, 64)))[:60]])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(InputError, match="not an image"):
        pixels_of(data, AS_IT_IS)


def test_an_image_too_large_to_hold_is_refused_unread() -> None:
    with pytest.raises(InputError, match=r"8000 x 8000 pixels.*at most 50 megapixels"):
        pixels_of(png(Image.new("1", (8000, 8000))), AS_IT_IS)


@pytest.mark.parametrize(("height", "short_side"), [(65_000, 256), (300_000, None)])
def test_an_image_that_would_be_too_large_resized_is_refused(height: int, short_side: int | None) -> None:
    """256 pixels wide it would be 16 million high; squeezed to 224 x 224, as high as it is between the two passes."""
    wanted = Preprocess(size=(224, 224), mean=(0.0,) * 3, std=(1.0,) * 3, short_side=short_side)
    with pytest.raises(InputError, match="too elongated") as refused:
        pixels_of(png(Image.new("L", (1, height))), wanted, "inputs[0].data[0]")
    assert refused.value.field == "inputs[0].data[0]"


def test_the_middle_is_cut_at_the_images_own_proportions() -> None:
    image = Image.new("RGB", (60, 20))
    for x in range(60):
        image.paste((4 * x, 0, 0), (x, 0, x + 1, 20))
    cut = Preprocess(size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3, short_side=20)
    assert pixels_of(png(image), cut)[0].tolist() == [[4 * x for x in range(22, 38)]] * 16
    halved = pixels_of(png(image), Preprocess(size=(8, 10), mean=(0.0,) * 3, std=(1.0,) * 3, short_side=10))
    assert halved.shape == (3, 8, 10)
    assert np.allclose(halved[0, 0], [8 * x + 2 for x in range(10, 20)], atol=1)
    upright = pixels_of(png(image.rotate(90, expand=True)), cut)
    assert upright[0, :, 0].tolist() == [4 * x for x in range(37, 21, -1)]


def test_more_cannot_be_cut_than_there_is() -> None:
    with pytest.raises(ValueError, match="short_side: 20 pixels are less than the 24 cut from them"):
        Preprocess(size=(16, 24), mean=(0.0,) * 3, std=(1.0,) * 3, short_side=20)
