"""Pictures of the report: throughput against accuracy, and every slice (`variants/reports/svg.py` draws)."""

from collections.abc import Sequence

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from loadtest.results.formats import number, size
from loadtest.results.schema import AccuracyFigure, ModelFigures, VariantFigures
from variants.reports.svg import FAINT, PALETTE, STYLE, Mark, as_svg, colour, place_labels

__all__ = ["PALETTE", "pareto", "slices"]

Point = tuple[float, AccuracyFigure]


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
            place_labels(axes, [_mark(*point) for point in in_panel])
        return as_svg(figure, f"pareto-{model.model}", f"Accuracy against throughput of the variants of {model.model}")


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


def _mark(speed: float, found: AccuracyFigure) -> Mark:
    return Mark(speed, 100 * found.value, 100 * found.low, 100 * found.high)


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
        return as_svg(figure, f"slices-{model.model}", f"Throughput of each slice of the variants of {model.model}")
