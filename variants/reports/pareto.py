"""Plots one figure with its interval against another, with the Pareto front of the variants."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from variants.reports.svg import FAINT, STYLE, as_svg, colour

# Half of the width of an interval's caps, plus a margin.
BAR_PX = 7
# A possible place of a label: the height in its interval, the offset in points, the two alignments. Best first.
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
Better = Literal["higher", "lower"]


class Point(NamedTuple):
    """One variant. x, y and the interval of y are in the units of the axes. `colour` is an index of the palette."""

    x: float
    y: float
    low: float
    high: float
    label: str
    colour: int


class Panel(NamedTuple):
    """One plot with at least one point. `better` says which values of x and which of y are better."""

    points: Sequence[Point]
    x_label: str
    y_label: str
    better: tuple[Better, Better]
    title: str = ""


def plot(name: str, label: str, panels: Sequence[Panel], share_y: bool = False) -> Markup:
    """The panels side by side. `as_svg` explains `name` and `label`."""
    with rc_context(STYLE):
        figure = Figure(figsize=(4.8 * len(panels), 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        drawn = list(zip(figure.subplots(1, len(panels), sharey=share_y, squeeze=False)[0], panels, strict=True))
        labels = [_draw(axes, panel) for axes, panel in drawn]
        # Labels are placed after the layout is computed, and must not change it.
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for (axes, panel), annotations in zip(drawn, labels, strict=True):
            place_labels(axes, panel.points, annotations)
        return as_svg(figure, name, label)


def _draw(axes: Axes, panel: Panel) -> list[Annotation]:
    labels = []
    for point in panel.points:
        x, y, low, high, label, index = point
        tint = colour(index)
        axes.errorbar(x, y, yerr=[[y - low], [high - y]], fmt="o", color=tint, capsize=3, markersize=7)
        labels.append(axes.annotate(label, (x, y), xytext=(0, 0), textcoords="offset points", color=tint))
        labels[-1].set_in_layout(False)
    best = [(point.x, point.y) for point in front(panel.points, panel.better)]
    axes.plot(*zip(*best, strict=True), color=FAINT, linewidth=1, linestyle="--", zorder=0)
    axes.set_title(panel.title, fontsize=10, loc="left")
    axes.set_xlabel(panel.x_label)
    axes.set_ylabel(panel.y_label)
    axes.margins(y=0.25)
    # The axis starts at 0, so that lengths show ratios. The factor leaves space for the last label.
    axes.set_xlim(0, 1.25 * max(point.x for point in panel.points))
    return labels


def front(points: Sequence[Point], better: tuple[Better, Better]) -> list[Point]:
    """The Pareto front, sorted by x: the points without a different one that is at least as good in x and y."""
    signs = [1 if each == "higher" else -1 for each in better]
    scores = [(signs[0] * point.x, signs[1] * point.y) for point in points]
    best = [
        point
        for point, score in zip(points, scores, strict=True)
        if not any(other[0] >= score[0] and other[1] >= score[1] and other != score for other in scores)
    ]
    return sorted(best, key=lambda point: point.x)


def place_labels(axes: Axes, points: Sequence[Point], labels: Sequence[Annotation]) -> None:
    """Move each label to the first place around its point that is inside the panel and overlaps nothing else."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    panel = axes.get_window_extent(renderer)
    taken = []
    for point in points:
        ends = axes.transData.transform([(point.x, point.low), (point.x, point.high)])
        taken.append(Bbox(ends).padded(BAR_PX, BAR_PX))
    for label, point in zip(labels, points, strict=True):
        # The place with the fewest collisions; among equals the first, since the best places are listed first.
        collisions = {}
        for place in PLACES:
            box = _put(label, point, place, renderer)
            outside = not (panel.contains(*box.min) and panel.contains(*box.max))
            collisions[place] = box.count_overlaps(taken) + 100 * outside
        taken.append(_put(label, point, min(collisions, key=lambda place: collisions[place]), renderer))


def _put(label: Annotation, point: Point, place: Place, renderer: Any) -> Bbox:
    height, offset, horizontal, vertical = place
    label.xy = (point.x, getattr(point, height))
    label.set_position(offset)
    label.set_horizontalalignment(horizontal)
    label.set_verticalalignment(vertical)
    return label.get_window_extent(renderer)
