"""The summary as one HTML file: no network, no script, light and dark. Figures are the summary's own.

`page.html.j2` is the page, `plots.py` its pictures.
"""

from pathlib import Path

import jinja2

from loadtest.results import formats, plots
from loadtest.results.schema import AccuracyFigure, ModelFigures, Summary
from variants.reports.svg import TEMPLATES

HERE = Path(__file__).parent


def write(summary: Summary, out_dir: Path) -> Path:
    """Write `report.html` into `out_dir` and return its path."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([HERE, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals["f"] = formats
    page = environment.get_template("page.html.j2").render(
        summary=summary,
        models=[
            {
                "figures": model,
                "tasks": _by_task(model),
                "pareto": plots.pareto(model),
                "slices": plots.slices(model),
            }
            for model in summary.models
        ],
        palette=plots.PALETTE,
    )
    path = out_dir / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def _by_task(model: ModelFigures) -> dict[str, dict[str, AccuracyFigure]]:
    """Task -> variant -> accuracy."""
    tasks: dict[str, dict[str, AccuracyFigure]] = {}
    for variant in model.variants:
        for found in variant.accuracy:
            tasks.setdefault(found.task, {})[variant.variant] = found
    return tasks
