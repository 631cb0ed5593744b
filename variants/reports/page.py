"""The HTML page of a report: one file without network access or scripts, for light and dark screens."""

import json
from pathlib import Path
from typing import Any

import jinja2

from variants.reports import formats
from variants.reports.svg import PALETTE


def render(template: Path, **values: Any) -> str:
    """Fill in a template that extends `base.html.j2`, which needs `title`, `limits` and `facts`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json"] = lambda document: json.dumps(document, indent=2)
    return environment.get_template(template.name).render(palette=PALETTE, f=formats, **values)
