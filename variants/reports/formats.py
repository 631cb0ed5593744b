"""Figures as text. Every table, page and sentence takes its number formats from here."""

from typing import Protocol

NOTHING = "–"


class Interval(Protocol):
    """A figure with the ends of its interval."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def number(value: float) -> str:
    """Three significant digits: 1,234 · 123 · 12.3 · 1.23. Below 1 three decimals: 0.123."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.9995 else f"{value:.3f}"


def signed(value: float) -> str:
    """The digits of `number` with the sign: +0.980 · −3.10 · 0.000."""
    text = number(abs(value))
    return text if not float(text.replace(",", "")) else f"{'+' if value > 0 else '−'}{text}"


def seconds(value: float) -> str:
    """Milliseconds below a second, seconds above: 4.2 ms · 42 ms · 1.25 s · 185 s."""
    if value >= 0.9995:
        return f"{number(value)} s"
    thousandths = 1000 * value
    return f"{thousandths:.1f} ms" if thousandths < 10 else f"{thousandths:.0f} ms"


def size(value: float) -> str:
    """Decimal units: 163 MB · 2.5 GB."""
    if value >= 1e9:
        return f"{value / 1e9:.2f} GB"
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.1f} MB"


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(share: float) -> str:
    """Percentage points with their sign: +1.5 · −3.0 · 0.0."""
    points = round(100 * share, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def clock(value: float) -> str:
    """Seconds as minutes and seconds: 95 becomes 1:35."""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02d}"


def measure(interval: Interval, unit: str) -> str:
    """A figure with its interval: 79.0 % (72.8 to 84.1) for a share, 28.6 (27.0 to 30.0) otherwise."""
    if unit == "share":
        return f"{share(interval.value)} ({100 * interval.low:.1f} to {100 * interval.high:.1f})"
    return f"{number(interval.value)} ({number(interval.low)} to {number(interval.high)})"


def difference(interval: Interval, unit: str) -> str:
    """A difference with its interval: −0.4 (−1.1 to +0.3). In percentage points where `unit` is "share"."""
    show = points if unit == "share" else signed
    return f"{show(interval.value)} ({span(interval, unit)})"


def span(interval: Interval, unit: str) -> str:
    """The ends of a difference's interval: −1.1 to +0.3."""
    show = points if unit == "share" else signed
    return f"{show(interval.low)} to {show(interval.high)}"


def ratio(interval: Interval) -> str:
    return f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"
