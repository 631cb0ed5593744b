"""Plots as inline SVG. Their colours are CSS variables of the page, so that they adapt to light and dark screens.

Matplotlib draws with placeholder colours, and `as_svg` replaces these by the variables.
"""

import io
import re
from typing import Any

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

from variants.reports.palette import PALETTE

INK, FAINT = "#010203", "#040506"
PLACEHOLDERS = tuple(f"#0a0b{index:02x}" for index in range(len(PALETTE)))
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


def colour(index: int) -> str:
    return PLACEHOLDERS[index % len(PLACEHOLDERS)]


def as_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as one <svg> element. Its ids begin with `name`. `label` describes the picture to screen readers."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'id="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", text)
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 system-ui, sans-serif", text)
    for index, placeholder in enumerate(PLACEHOLDERS):
        text = text.replace(placeholder, f"var(--variant-{index})")
    text = text.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    # The maximum width of 100 pixels an inch gives letters the same size in all pictures.
    head = f'role="img" aria-label="{label}" style="max-width: {100 * figure.get_figwidth():.0f}px"'
    text = re.sub(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>', rf'<svg viewBox="\1" {head}>', text)
    return Markup(text)  # noqa: S704  # made here, from numbers and checked names
