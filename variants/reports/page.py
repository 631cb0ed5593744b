"""The HTML page of a report: one file without network access or scripts, for light and dark screens."""

import json
from pathlib import Path
from typing import Any

import jinja2

from variants.reports import formats
from variants.reports.svg import PALETTE


def render(template: Path, **values: Any) -> str:
    """Fill in a template that extends `base.html.j2`, which needs `title`, `limits` and `facts`."""
    return _environment(template.parent).get_template(template.name).render(palette=PALETTE, f=formats, **values)


def standalone(svg: str) -> str:
    """A plot of `variants.reports.svg.as_svg` as a file of its own, in the colours of a page."""
    colours = _environment().get_template("colours.css.j2").render(palette=PALETTE)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head, rest = str(svg).split(">", 1)  # Markup would escape what is added
    style = f"<style>\n{colours}\n:root {{ background: var(--ground); }}\n</style>"
    return f"{head.replace('<svg', f'<svg {names}', 1)}>{style}{rest}\n"


def _environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders and of this one."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda document: json.dumps(document, indent=2)
    return environment
