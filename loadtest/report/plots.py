"""Pictures of the report as inline SVG. Colours are CSS variables of the page, so that they follow light
and dark.

Matplotlib draws with stand-in colours, which are replaced in its output. Names stand beside their points,
wherever there is room: each label tries places around its point and takes the first that touches nothing.
"""

import io
import re
from collections.abc import Sequence
from typing import Any, Literal

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from loadtest.figures import Accuracy, ModelFigures, VariantFigures
from loadtest.formats import number, size

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
Point = tuple[float, Accuracy]
# Half of a bar's caps, and some room.
BAR_PX = 7
# Where a name may stand: at which height of its bar, how far off in points, and its alignments, best first.
Place = tuple[str, tuple[int, int], Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
PLACES: tuple[Place, ...] = (
    ("high", (0, 8), "center", "bottom"),
    ("low", (0, -8), "center", "top"),
    ("value", (9, 0), "left", "center"),
    ("value", (-9, 0), "right", "center"),
    ("high", (9, 0), "left", "top"),
    ("high", (-9, 0), "right", "top"),
    ("low", (9, 0), "left", "bottom"),
    ("low", (-9, 0), "right", "bottom"),
    ("high", (0, 34), "center", "bottom"),
    ("low", (0, -34), "center", "top"),
)


def colour(index: int) -> str:
    return STAND_INS[index % len(STAND_INS)]


def pareto(model: ModelFigures) -> Markup | None:
    """Accuracy with its interval against throughput, a panel a task. None where either was not measured."""
    tasks = sorted({found.task for variant in model.variants for found in variant.accuracy})
    if not tasks or all(variant.throughput_rps is None for variant in model.variants):
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * len(tasks), 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(tasks), squeeze=False)[0]
        points = [_panel(axes, model, task) for axes, task in zip(panels, tasks, strict=True)]
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, in_panel in zip(panels, points, strict=True):
            _place(axes, in_panel)
        return _svg(figure, f"pareto-{model.model}", f"Accuracy against throughput of the variants of {model.model}")


def _panel(axes: Axes, model: ModelFigures, task: str) -> list[Point]:
    points: list[Point] = []
    for index, variant in enumerate(model.variants):
        found = next((found for found in variant.accuracy if found.task == task), None)
        speed = _speed(variant)
        if found is None or speed is None:
            continue
        points.append((speed, found))
        axes.errorbar(
            speed,
            100 * found.value,
            yerr=[[100 * (found.value - found.low)], [100 * (found.high - found.value)]],
            fmt="o",
            color=colour(index),
            capsize=3,
            markersize=7,
        )
        axes.annotate(
            f"{variant.variant}\n{size(variant.artifact_bytes)}",
            (speed, 100 * found.value),
            xytext=(0, 0),
            textcoords="offset points",
            color=colour(index),
        ).set_in_layout(False)
    _front(axes, points)
    axes.set_title(f"{task}, n {min(found.n for _, found in points):,}", fontsize=10, loc="left")
    axes.set_xlabel("output tokens/s" if model.task == "text-generation" else "requests/s")
    axes.set_ylabel("right answers, % (95 % interval)")
    axes.margins(y=0.22)
    # From nought, so that lengths are ratios; and room for the last name.
    axes.set_xlim(0, 1.25 * max(speed for speed, _ in points))
    return points


def _speed(variant: VariantFigures) -> float | None:
    return variant.throughput_rps if variant.output_tokens_per_s is None else variant.output_tokens_per_s


def _front(axes: Axes, points: Sequence[Point]) -> None:
    """A line through the points than which no other is both faster and more often right."""
    best = [
        (speed, found.value)
        for speed, found in points
        if not any(other > speed and more.value >= found.value for other, more in points)
    ]
    best.sort()
    axes.plot(
        [speed for speed, _ in best],
        [100 * value for _, value in best],
        color=FAINT,
        linewidth=1,
        linestyle="--",
        zorder=0,
    )


def _place(axes: Axes, points: Sequence[Point]) -> None:
    """Move each label to the first place around its point that is inside the panel and touches nothing
    drawn.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    panel = axes.get_window_extent(renderer)
    taken = []
    for speed, found in points:
        ends = axes.transData.transform([(speed, 100 * found.low), (speed, 100 * found.high)])
        taken.append(Bbox(ends).padded(BAR_PX, BAR_PX))
    labels = (child for child in axes.get_children() if isinstance(child, Annotation))
    for label, (speed, found) in zip(labels, points, strict=True):
        # Fewest collisions; of equals the first, since a better place stands earlier.
        collisions = {}
        for place in PLACES:
            box = _put(label, speed, found, place, renderer)
            collisions[place] = box.count_overlaps(taken) + (0 if _inside(box, panel) else 100)
        taken.append(_put(label, speed, found, min(collisions, key=lambda place: collisions[place]), renderer))


def _put(label: Annotation, speed: float, found: Accuracy, place: Place, renderer: Any) -> Bbox:
    anchor, offset, horizontal, vertical = place
    label.xy = (speed, 100 * getattr(found, anchor))
    label.set_position(offset)
    label.set_horizontalalignment(horizontal)
    label.set_verticalalignment(vertical)
    return label.get_window_extent(renderer)


def _inside(box: Bbox, panel: Bbox) -> bool:
    return box.x0 >= panel.x0 and box.x1 <= panel.x1 and box.y0 >= panel.y0 and box.y1 <= panel.y1


def slices(model: ModelFigures) -> Markup | None:
    """Every slice of every variant in the order of turns. None where there were none."""
    if not any(variant.slices for variant in model.variants):
        return None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.45 * len(model.variants)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for index, variant in enumerate(model.variants):
            values = [
                each.throughput_rps if each.output_tokens_per_s is None else each.output_tokens_per_s
                for each in variant.slices
            ]
            axes.plot(values, [index] * len(values), "o", color=colour(index), markersize=6, alpha=0.75)
            axes.annotate(
                number(_speed(variant)),
                (max(values, default=0), index),
                xytext=(9, -4),
                textcoords="offset points",
                color=colour(index),
            )
        axes.set_yticks(range(len(model.variants)), [variant.variant for variant in model.variants])
        axes.set_ylim(len(model.variants) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.margins(x=0.15)
        axes.set_xlabel("output tokens/s" if model.task == "text-generation" else "requests/s")
        axes.grid(visible=False, axis="y")
        return _svg(figure, f"slices-{model.model}", f"Throughput of each slice of the variants of {model.model}")


def _svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as one <svg> element; ids carry `name`, colours are the page's variables."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
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
