"""The plots of the report: accuracy against throughput, and the throughput of every slice."""

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from loadtest.results.columns import accuracy_by_task, is_text
from loadtest.results.schema import ModelFigures, SliceFigures, VariantFigures
from variants.reports import pareto as front
from variants.reports.formats import number, size
from variants.reports.svg import STYLE, as_svg, colour


def pareto(model: ModelFigures) -> Markup | None:
    """Accuracy with its interval against throughput, with a panel for each task. None if no variant has both."""
    panels = []
    for task in sorted(accuracy_by_task(model)):
        points, sizes = [], []
        for index, variant in enumerate(model.variants):
            for figure in variant.accuracy:
                if figure.task == task and (speed := _speed(variant)) is not None:
                    label = f"{variant.variant}\n{size(variant.artifact_bytes)}"
                    value, low, high = (100 * each for each in (figure.value, figure.low, figure.high))
                    points.append(front.Point(speed, value, low, high, label, index))
                    sizes.append(figure.n)
        if points:
            title = f"{task}, n {min(sizes):,}"
            y_label = "right answers, % (95 % interval)"
            panels.append(front.Panel(points, _unit(model), y_label, ("higher", "higher"), title))
    if not panels:
        return None
    return front.plot(f"pareto-{model.model}", f"Accuracy against throughput of the variants of {model.model}", panels)


def _speed(figures: VariantFigures | SliceFigures) -> float | None:
    return figures.throughput_rps if figures.output_tokens_per_s is None else figures.output_tokens_per_s


def _unit(model: ModelFigures) -> str:
    return "output tokens/s" if is_text(model) else "requests/s"


def slices(model: ModelFigures) -> Markup | None:
    """The throughput of every slice of every variant. None if there are no slices."""
    if not any(variant.slices for variant in model.variants):
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.45 * len(model.variants)), layout="constrained")
        axes = figure.subplots()
        for index, variant in enumerate(model.variants):
            values = [speed for each in variant.slices if (speed := _speed(each)) is not None]
            axes.plot(values, [index] * len(values), "o", color=colour(index), markersize=6, alpha=0.75)
            if (median := _speed(variant)) is not None:
                axes.annotate(
                    number(median),
                    (max(values, default=0), index),
                    xytext=(9, -4),
                    textcoords="offset points",
                    color=colour(index),
                )
        axes.set_yticks(range(len(model.variants)), [variant.variant for variant in model.variants])
        axes.set_ylim(len(model.variants) - 0.5, -0.5)
        axes.set_xlim(left=0)
        axes.margins(x=0.15)
        axes.set_xlabel(_unit(model))
        axes.grid(visible=False, axis="y")
        return as_svg(figure, f"slices-{model.model}", f"Throughput of each slice of the variants of {model.model}")
