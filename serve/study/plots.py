"""Accuracy against latency and against bytes, one picture a model (`variants/reports/svg.py` draws)."""

from collections.abc import Callable, Sequence

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from serve.study.schema import StudyCard
from variants.reports.svg import FAINT, STYLE, Mark, as_svg, colour, place_labels

KINDS = ("baseline", "quantized", "pruned", "lora", "chain")
"""A colour a kind, in this order of the palette."""
Figures = Callable[[StudyCard], float]
AXES: Sequence[tuple[str, Figures]] = (
    ("ms for one request, median", lambda card: 1000 * card.latency_s.p50),
    ("MB that the engine loads", lambda card: card.served_bytes / 1e6),
)


def colour_of(kind: str) -> int:
    return KINDS.index(kind)


def pareto(model: str, cards: Sequence[StudyCard]) -> Markup | None:
    """One panel of each of AXES. Only the cards of the first one's task and metric can stand in one picture."""
    shown = [card for card in cards if (card.task, card.accuracy.metric) == (cards[0].task, cards[0].accuracy.metric)]
    with rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(AXES), sharey=True)
        marks = [_panel(axes, shown, label, of) for axes, (label, of) in zip(panels, AXES, strict=True)]
        panels[0].set_ylabel(_label(shown[0]))
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
        for axes, found in zip(panels, marks, strict=True):
            place_labels(axes, found)
        return as_svg(
            figure,
            f"pareto-{model}",
            f"{cards[0].accuracy.metric} of the variants of {model} against latency and bytes",
        )


def _label(card: StudyCard) -> str:
    unit = ", %" if card.unit == "share" else ""
    return f"{card.accuracy.metric}{unit} ({card.better} is better)"


def _panel(axes: Axes, cards: Sequence[StudyCard], label: str, of: Figures) -> list[Mark]:
    marks = []
    for card in cards:
        scale = 100 if card.unit == "share" else 1
        found, tint = card.accuracy, colour(colour_of(card.kind))
        mark = Mark(of(card), scale * found.value, scale * found.low, scale * found.high)
        axes.errorbar(
            mark.x,
            mark.y,
            yerr=[[mark.y - mark.low], [mark.high - mark.y]],
            fmt="o",
            color=tint,
            capsize=3,
            markersize=7,
        )
        # Labels are placed once the axes stand, and must not move them.
        axes.annotate(
            card.variant, (mark.x, mark.y), xytext=(0, 0), textcoords="offset points", color=tint
        ).set_in_layout(False)
        marks.append(mark)
    _front(axes, marks, 1 if cards[0].better == "higher" else -1)
    axes.set_xlabel(label)
    axes.margins(y=0.25)
    # From nought, so that lengths are ratios; and room for the last name.
    axes.set_xlim(0, 1.2 * max(mark.x for mark in marks))
    return marks


def _front(axes: Axes, marks: Sequence[Mark], sign: int) -> None:
    """A line through the points that no other beats in both."""
    best = sorted(
        (mark.x, mark.y)
        for mark in marks
        if not any(
            other.x <= mark.x and sign * other.y >= sign * mark.y and (other.x, other.y) != (mark.x, mark.y)
            for other in marks
        )
    )
    axes.plot(*zip(*best, strict=True), color=FAINT, linewidth=1, linestyle="--", zorder=0)
