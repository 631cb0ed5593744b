"""The HTML page of a report: one file without scripts or network access, for light and dark screens."""

import json
from pathlib import Path
from typing import Any

import jinja2

from variants.reports import formats
from variants.reports.palette import PALETTE


def render(template: Path, **values: Any) -> str:
    """The page of a template that extends `base.html.j2`. `values` must include `title`, `limits` and `facts`."""
    return templates(template.parent).get_template(template.name).render(palette=PALETTE, f=formats, **values)


def standalone(svg: str) -> str:
    """A plot by `variants.reports.svg.as_svg` as a separate file, in the colours of a page."""
    colours = templates().get_template("colours.css.j2").render(palette=PALETTE)
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    head, rest = str(svg).split(">", 1)  # a Markup would escape the added text
    style = f"<style>\n{colours}\n:root {{ background: var(--ground); }}\n</style>"
    return f"{head.replace('<svg', f'<svg {names}', 1)}>{style}{rest}\n"


def templates(*folders: Path) -> jinja2.Environment:
    """Templates from `folders` and from the folder of this module. They escape names."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda document: json.dumps(document, indent=2)
    return environment
