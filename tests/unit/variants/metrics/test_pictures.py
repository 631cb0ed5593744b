"""Pictures without labels: contrast, and likeness to another picture."""

import io

import numpy as np
import pytest
from PIL import Image

from variants.errors import InputError
from variants.metrics.outcome import Outcome
from variants.metrics.pictures import CONTRAST, contrast, likeness, thumbnail


def png(values: np.ndarray) -> bytes:
    Image.fromarray(values.astype(np.uint8)).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


GREY, WHITE = (thumbnail(png(np.full((64, 96, 3), value))) for value in (204, 255))
HALVES = thumbnail(png(np.repeat(np.repeat([[[0], [255]]], 64, 0), 3, 2).repeat(32, 1)))


def test_likeness_is_1_less_the_mean_difference() -> None:
    assert likeness(WHITE, WHITE) == 1
    assert likeness(WHITE, GREY) == pytest.approx(0.8)
    assert CONTRAST.agrees(WHITE, WHITE)
    assert not CONTRAST.agrees(WHITE, GREY)


def test_a_picture_of_one_colour_has_no_contrast() -> None:
    assert contrast(GREY) == 0
    assert contrast(HALVES) == pytest.approx(0.5, abs=0.03)
    ours, theirs = ([Outcome(str(at), "", each, False) for at in range(4)] for each in (HALVES, GREY))
    assert CONTRAST.measure(ours).value == pytest.approx(contrast(HALVES))
    assert CONTRAST.difference(theirs, ours).value == pytest.approx(-contrast(HALVES))


def test_what_is_no_picture_is_refused() -> None:
    with pytest.raises(InputError, match="picture"):
        thumbnail(b"no picture")
