"""`make picture`: writes the README's picture, the Pareto plot of a campaign's first model, as an SVG file.

Usage: `python -m loadtest.results.picture SUMMARY.json PICTURE.svg`
"""

import sys
from pathlib import Path

from loadtest.results.plots import pareto
from loadtest.results.schema import Summary
from variants.errors import InputError
from variants.reports.page import standalone


def main() -> None:
    """Raises InputError if the campaign did not measure both accuracy and speed."""
    source, target = map(Path, sys.argv[1:])
    plot = pareto(Summary.model_validate_json(source.read_bytes()).models[0])
    if plot is None:
        raise InputError(f"{source} has no variant with accuracy and speed", mend="run make demo first")
    target.write_text(standalone(plot), encoding="utf-8")


if __name__ == "__main__":
    main()
