"""Plots as inline SVG. Colours are CSS variables of the page, so that they follow light and dark.

Matplotlib draws with stand-in colours, which are replaced in its output. Names stand beside their points,
wherever there is room: each label tries places around its point and takes the first that touches nothing.
"""

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

TEMPLATES = Path(__file__).parent
# (light, dark), distinct for colour-blind eyes, in the order of a model's variants.
PALETTE = (
    ("#3b6fb6", "#7fb0ff"),
    ("#c2571a", "#ff9d5c"),
    ("#2c8a57", "#63d39a"),
    ("#8a4fbf", "#c99bff"),
    ("#a8323e", "#ff8a95"),
    ("#6b6b1f", "#d4d35a"),
)
INK, FAINT = "#010203", "#040506"
STAND_INS = tuple(f"#0a0b{index:02x}" for index in range(len(PALETTE)))
STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.35,
}
# Half of a bar's caps, and some room.
BAR_PX = 7
# Where a name may stand: at which height of its bar, how far off in points, and its alignments, best first.
Place = tuple[str, tuple[int, int], Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
PLACES: tuple[Place, ...] = (
    ("high", (0, 8), "center", "bottom"),
    ("low", (0, -8), "center", "top"),
    ("y", (9, 0), "left", "center"),
    ("y", (-9, 0), "right", "center"),
    ("high", (9, 0), "left", "top"),
    ("high", (-9, 0), "right", "top"),
    ("low", (9, 0), "left", "bottom"),
    ("low", (-9, 0), "right", "bottom"),
    ("high", (0, 34), "center", "bottom"),
    ("low", (0, -34), "center", "top"),
)


def colour(index: int) -> str:
    return STAND_INS[index % len(STAND_INS)]


class Mark(NamedTuple):
    """A point with its bar, in the units of the axes."""

    x: float
    y: float
    low: float
    high: float


def place_labels(axes: Axes, marks: Sequence[Mark]) -> None:
    """Move each annotation, one a mark and in their order, to the first place around its point that is inside the panel
    and touches nothing drawn."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    panel = axes.get_window_extent(renderer)
    taken = []
    for mark in marks:
        ends = axes.transData.transform([(mark.x, mark.low), (mark.x, mark.high)])
        taken.append(Bbox(ends).padded(BAR_PX, BAR_PX))
    labels = (child for child in axes.get_children() if isinstance(child, Annotation))
    for label, mark in zip(labels, marks, strict=True):
        # Fewest collisions; of equals the first, since a better place stands earlier.
        collisions = {}
        for place in PLACES:
            box = _put(label, mark, place, renderer)
            collisions[place] = box.count_overlaps(taken) + (0 if _inside(box, panel) else 100)
        taken.append(_put(label, mark, min(collisions, key=lambda place: collisions[place]), renderer))


def _put(label: Annotation, mark: Mark, place: Place, renderer: Any) -> Bbox:
    anchor, offset, horizontal, vertical = place
    label.xy = (mark.x, getattr(mark, anchor))
    label.set_position(offset)
    label.set_horizontalalignment(horizontal)
    label.set_verticalalignment(vertical)
    return label.get_window_extent(renderer)


def _inside(box: Bbox, panel: Bbox) -> bool:
    return box.x0 >= panel.x0 and box.x1 <= panel.x1 and box.y0 >= panel.y0 and box.y1 <= panel.y1


def as_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as one <svg> element; ids carry `name`, colours are the page's variables."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", text)
    for index, stand_in in enumerate(STAND_INS):
        text = text.replace(stand_in, f"var(--variant-{index})")
    text = text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    # Drawn at 100 units an inch and shown no wider than that, so that letters have one size in all pictures.
    head = f'role="img" aria-label="{label}" style="max-width: {100 * figure.get_figwidth():.0f}px"'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" {head}>', text)
    return Markup(text)  # noqa: S704  # made here, from numbers and checked names
