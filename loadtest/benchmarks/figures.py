"""Writes the figures of a benchmark: to a JSON file, and into a document between two marks."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from variants.files import write_atomic
from variants.machine import PACKAGES, describe, versions


def write_figures(path: Path, figures: dict[str, Any], packages: Iterable[str] = PACKAGES) -> None:
    """Write `figures` to `path` as JSON, with the schema's number, this machine and the versions of `packages`."""
    document = {"schema": 1, "machine": describe().model_dump(mode="json"), "versions": versions(packages), **figures}
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())


def put_into(document: Path, command: str, text: str) -> None:
    """Replace the text between the marks of `make COMMAND`. Raises ValueError if a mark is missing."""
    begin, end = f"<!-- figures of make {command} -->", f"<!-- end of make {command} -->"
    before, first_mark, rest = document.read_text().partition(begin)
    _, second_mark, after = rest.partition(end)
    if not first_mark or not second_mark:
        raise ValueError(f"{document} lacks {begin} or {end}")
    write_atomic(document, f"{before}{begin}\n{text}\n{end}{after}".encode())
