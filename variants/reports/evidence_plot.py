"""Evidence over time: for each metric a line with the mean, a band with its interval, and a line with its limit."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from variants.reports.svg import FAINT, STYLE, as_svg, colour

BAND, LIMIT = 0, 4
"""Indexes of the palette."""
FEW = 40
"""Up to so many points are drawn as dots too."""
SETTLED = 0.15
"""The part of the time at the start whose wide intervals may leave the picture, and the means with them."""


class Series(NamedTuple):
    """One metric. `minutes` since the start rise; `means`, `lows` and `highs` are of the same length. `limit` is what
    the mean must not pass."""

    label: str
    minutes: Sequence[float]
    means: Sequence[float]
    lows: Sequence[float]
    highs: Sequence[float]
    limit: float


def plot(name: str, label: str, series: Sequence[Series], moments: Sequence[tuple[float, str]]) -> Markup:
    """A panel for each metric, with a common axis of time. `moments` are decisions, each with its minute.

    `as_svg` explains `name` and `label`."""
    with rc_context(STYLE):
        figure = Figure(figsize=(7.6, 0.7 + 2.3 * len(series)), layout="constrained")
        every = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, each in zip(every, series, strict=True):
            _draw(axes, each)
            for minute, _ in moments:
                axes.axvline(minute, color=FAINT, linewidth=1)
        end = max(*(each.minutes[-1] for each in series), *(minute for minute, _ in moments), 0.0)
        _name(every[0], moments, end)
        every[-1].set_xlabel("minutes since the rollout began")
        every[-1].set_xlim(0, 1.02 * max(end, 1e-3))
        return as_svg(figure, name, label)


def _draw(axes: Axes, series: Series) -> None:
    tint = colour(BAND)
    axes.fill_between(series.minutes, series.lows, series.highs, color=tint, alpha=0.2, linewidth=0)
    marker = "o" if len(series.minutes) <= FEW else ""
    axes.plot(series.minutes, series.means, color=tint, linewidth=1.8, marker=marker, markersize=3)
    axes.axhline(series.limit, color=colour(LIMIT), linewidth=1.4, linestyle="--")
    axes.set_ylabel(series.label)
    axes.set_ylim(*_view(series))


def _view(series: Series) -> tuple[float, float]:
    """The range of the y axis: the limit, and the means and intervals after the start."""
    first = series.minutes[0] + SETTLED * (series.minutes[-1] - series.minutes[0])
    late = [index for index, minute in enumerate(series.minutes) if minute >= first]
    values = [series.limit, *(each[index] for index in late for each in (series.means, series.lows, series.highs))]
    margin = 0.08 * (max(values) - min(values)) or 1.0
    return min(values) - margin, max(values) + margin


def _name(axes: Axes, moments: Sequence[tuple[float, str]], end: float) -> None:
    """Write the decisions above the panel; those too near to the one before go a line higher."""
    level, last = 0, float("-inf")
    for minute, text in moments:
        level = (level + 1) % 4 if minute - last < 0.14 * end else 0
        last = minute
        axes.annotate(
            text,
            (minute, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 4 + 12 * level),
            textcoords="offset points",
            ha="right" if minute > 0.8 * end else "left",
            fontsize=9,
        )
