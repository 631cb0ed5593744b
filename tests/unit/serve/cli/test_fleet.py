"""The table of `understudy status` and `understudy top`: its width, and the colours of the variants."""

import sys
from io import BytesIO, StringIO, TextIOWrapper

import pytest
from rich.console import Console

from serve.cli.fleet import WIDTH, marks, table
from serve.client.fleet import VariantRow
from variants.reports.palette import PALETTE


def row(model: str, variant: str) -> VariantRow:
    return VariantRow(model, variant, True, None, 0.8, 123456, 0.01, 0.2, 12.3, 0.1, 1, 12, 10**10, 123.4, 1234.0)


def test_a_variant_has_its_colour_of_the_reports() -> None:
    rows = [row("a", "baseline"), row("a", "int8"), row("b", "baseline")]
    assert marks(rows) == [PALETTE[0][1], PALETTE[1][1], PALETTE[0][1]]


def test_the_table_fits_its_columns_with_every_name_whole() -> None:
    console = Console(width=WIDTH, record=True, file=StringIO())
    console.print(table([row("smollm2", "baseline"), row("smollm2", "int8")]))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert all(name in "\n".join(lines) for name in ("smollm2@int8 ●", "12.3 s", "10000"))


@pytest.mark.parametrize(("encoding", "dot"), [("utf-8", " ●"), ("latin-1", ""), ("ascii", "")])
def test_a_terminal_that_cannot_print_the_dot_gets_none(
    monkeypatch: pytest.MonkeyPatch, encoding: str, dot: str
) -> None:
    monkeypatch.setattr(sys, "stdout", TextIOWrapper(written := BytesIO(), encoding))
    Console(width=WIDTH).print(table([row("smollm2", "int8")]))
    sys.stdout.flush()
    assert f"smollm2@int8{dot} " in written.getvalue().decode(encoding)
