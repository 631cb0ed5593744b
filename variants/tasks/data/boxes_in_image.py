"""What both formats of boxes share: a box must have an area and lie in its image."""

import math

from variants.vision.boxes import Box

EDGE = 1.0
"""Pixels that a box may be outside: annotations are rounded. What is outside is cut off."""


def box_in(label: str, left: float, top: float, width: float, height: float, size: tuple[int, int]) -> Box:
    """The box, cut to an image of `size` (width, height), to hundredths of a pixel. ValueError for one without an
    area in the image, and for one that is more than `EDGE` outside of the image."""
    sides = (left, top, left + width, top + height)
    shown = ", ".join(f"{side:g}" for side in sides)
    if not all(map(math.isfinite, sides)) or width <= 0 or height <= 0:
        raise ValueError(f"the box [{shown}] has no area")
    if min(left, top) < -EDGE or sides[2] > size[0] + EDGE or sides[3] > size[1] + EDGE:
        raise ValueError(f"the box [{shown}] is outside of the image, which has {size[0]} x {size[1]} pixels")
    right, bottom = min(sides[2], size[0]), min(sides[3], size[1])
    box = Box(label, *(round(float(side), 2) for side in (max(left, 0), max(top, 0), right, bottom)))
    if box.right <= box.left or box.bottom <= box.top:
        raise ValueError(f"the box [{shown}] has no area in its image, which has {size[0]} x {size[1]} pixels")
    return box
