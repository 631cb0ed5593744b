"""Plots of accuracy against latency and against bytes, one picture for each model."""

from collections.abc import Callable, Sequence

from markupsafe import Markup

from serve.study.schema import StudyCard
from variants.reports import pareto

KINDS = ("baseline", "quantized", "pruned", "lora", "chain", "plugin")
"""The kinds of variants, each with the colour at its index in the palette."""
AXES: Sequence[tuple[str, Callable[[StudyCard], float]]] = (
    ("ms for one request, median", lambda card: 1000 * card.latency_s.p50),
    ("MB that the engine loads", lambda card: card.served_bytes / 1e6),
)


def colour_of(kind: str) -> int:
    return KINDS.index(kind)


def plot(model: str, cards: Sequence[StudyCard]) -> Markup:
    """A panel for each of AXES. It shows only the cards with the first one's task and metric."""
    first = cards[0]
    metric, unit = first.accuracy.metric, ", %" if first.unit == "share" else ""
    shown = [card for card in cards if (card.task, card.accuracy.metric) == (first.task, metric)]
    panels = [
        pareto.Panel([_point(card, of(card)) for card in shown], label, "", ("lower", first.better))
        for label, of in AXES
    ]
    panels[0] = panels[0]._replace(y_label=f"{metric}{unit} ({first.better} is better)")
    description = f"{metric} of the variants of {model} against latency and bytes"
    return pareto.plot(f"pareto-{model}", description, panels, share_y=True)


def _point(card: StudyCard, x: float) -> pareto.Point:
    accuracy, scale = card.accuracy, 100 if card.unit == "share" else 1
    y, low, high = (scale * each for each in (accuracy.value, accuracy.low, accuracy.high))
    return pareto.Point(x, y, low, high, card.variant, colour_of(card.kind))
