"""Figures as people read them: one place, so that every table and page says the same."""

NOTHING = "–"


def number(value: float | None) -> str:
    """Three digits that matter: 1,234 · 123 · 12.3 · 1.23."""
    if value is None:
        return NOTHING
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def seconds(value: float | None) -> str:
    """Milliseconds below a second, seconds above: 4.2 ms · 42 ms · 1.25 s · 185 s."""
    if value is None:
        return NOTHING
    if value >= 0.9995:
        return f"{number(value)} s"
    thousandths = 1000 * value
    return f"{thousandths:.1f} ms" if thousandths < 10 else f"{thousandths:.0f} ms"


def size(value: float | None) -> str:
    """Decimal units: 163 MB · 2.5 GB."""
    if value is None:
        return NOTHING
    if value >= 1e9:
        return f"{value / 1e9:.2f} GB"
    return f"{value / 1e6:,.0f} MB" if value >= 1e7 else f"{value / 1e6:.1f} MB"


def share(value: float) -> str:
    return f"{100 * value:.1f} %"


def points(share: float) -> str:
    """+1.5, −3.0, 0.0: percentage points with their sign."""
    points = round(100 * share, 1)
    return f"{points:+.1f}".replace("-", "−") if points else "0.0"


def clock(value: float) -> str:
    """95 -> 1:35."""
    minutes, rest = divmod(round(value), 60)
    return f"{minutes}:{rest:02d}"
