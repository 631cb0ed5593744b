"""Pictures of the report as inline SVG. Colours are CSS variables of the page, so that they follow light
and dark.

Matplotlib draws with stand-in colours, which are replaced in its output. Names stand beside their points,
wherever there is room: each label tries places around its point and takes the first that touches nothing.
"""

import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.container import ErrorbarContainer
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
AROUND = ((8, 6), (8, -14), (-8, 6), (-8, -14), (8, 20), (-8, 20), (8, -28), (-8, -28), (0, 34), (0, -42))


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
        for axes, task in zip(panels, tasks, strict=True):
            _panel(axes, model, task)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes in panels:
            _place(axes)
        return _svg(figure, f"pareto-{model.model}", f"Accuracy against throughput of the variants of {model.model}")


def _panel(axes: Axes, model: ModelFigures, task: str) -> None:
    points = []
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
            f"{variant.variant}, {size(variant.artifact_bytes)}",
            (speed, 100 * found.value),
            xytext=AROUND[0],
            textcoords="offset points",
            color=colour(index),
        ).set_in_layout(False)
    _front(axes, points)
    axes.set_title(f"{task}, n {min(found.n for _, found in points):,}", fontsize=10, loc="left")
    axes.set_xlabel("output tokens/s" if model.task == "text-generation" else "requests/s")
    axes.set_ylabel("right answers, % (95 % interval)")
    axes.margins(x=0.18, y=0.12)


def _speed(variant: VariantFigures) -> float | None:
    return variant.throughput_rps if variant.output_tokens_per_s is None else variant.output_tokens_per_s


def _front(axes: Axes, points: Sequence[tuple[float, Accuracy]]) -> None:
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


def _place(axes: Axes) -> None:
    """Move each label to the first place around its point that is inside the panel and touches nothing
    drawn.
    """
    figure = axes.figure
    assert isinstance(figure, Figure)
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    taken = [
        line.get_window_extent(renderer).padded(3)
        for container in axes.containers
        if isinstance(container, ErrorbarContainer)
        for line in (container.lines[0], *container.lines[2])
    ]
    labels = [child for child in axes.get_children() if isinstance(child, Annotation)]
    for label in labels:
        for x, y in AROUND:
            label.set_position((x, y))
            label.set_horizontalalignment("left" if x > 0 else "right" if x < 0 else "center")
            box = label.get_window_extent(renderer)
            if _inside(box, axes.get_window_extent(renderer)) and not box.count_overlaps(taken):
                break
        taken.append(label.get_window_extent(renderer))


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
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" role="img" aria-label="{label}">', text)
    return Markup(text)  # noqa: S704  # made here, from numbers and checked names
