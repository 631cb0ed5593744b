"""Figures in a document: a command replaces what stands between its two marks, and nothing else."""

from pathlib import Path

from variants.files import write_atomic


def put_into(document: Path, command: str, text: str) -> None:
    """Replace what stands between the marks of `make COMMAND`. ValueError where they are missing."""
    begin, end = f"<!-- figures of make {command} -->", f"<!-- end of make {command} -->"
    before, found, rest = document.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not found or not ended:
        raise ValueError(f"{document} lacks {begin} or {end}")
    write_atomic(document, f"{before}{begin}\n{text}\n{end}{after}".encode())
