"""Colours of variants that readers with each kind of colour blindness can distinguish, on light and dark ground."""

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from variants.reports.palette import PALETTE

SEEN = {
    "all cones": np.eye(3),
    "no red cones": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "no green cones": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "no blue cones": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}
"""Linear sRGB as it is seen: Machado, Oliveira and Fernandes 2009, severity 1."""
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
WHITE = np.array([0.9505, 1.0, 1.089])
GROUNDS = ("#fbfaf8", "#17181c")


def linear(colour: str) -> NDArray[np.float64]:
    values = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    xyz = TO_XYZ @ np.clip(light, 0, 1) / WHITE
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("theme", [0, 1])
def test_every_two_colours_are_apart(theme: int, seen: str) -> None:
    colours = [lab(SEEN[seen] @ linear(pair[theme])) for pair in PALETTE]
    assert min(float(np.linalg.norm(one - other)) for one, other in combinations(colours, 2)) >= 20


@pytest.mark.parametrize("theme", [0, 1])
def test_every_colour_stands_out_from_the_ground(theme: int) -> None:
    """WCAG 2.2, 1.4.11: graphics need a contrast of 3."""
    for pair in PALETTE:
        lights = sorted(float(TO_XYZ[1] @ linear(each)) for each in (pair[theme], GROUNDS[theme]))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 3, pair
