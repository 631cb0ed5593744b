"""The table of architectures, a slice of it: what is built, served and compared, and that a run goes on."""

from pathlib import Path

import pytest

from loadtest.benchmarks.architectures.__main__ import kept, run, table
from loadtest.benchmarks.architectures.tiny import ARCHITECTURES

pytestmark = pytest.mark.integration


def test_three_architectures_and_a_run_that_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "architectures.json"
    chosen = [each for each in ARCHITECTURES if each.name in ("MPNet", "ViT", "YOLOS")]
    first = run(chosen[:1], path, [], methods=1)
    capsys.readouterr()
    cells = run(chosen, path, kept(path), methods=1)
    told = capsys.readouterr().err
    for name in ("ViT", "YOLOS"):
        assert f"{name} baseline: yes" in told, [(cell.architecture, cell.text, cell.says) for cell in cells]
    assert "MPNet baseline" not in told
    assert [(cell.architecture, cell.method) for cell in cells] == [(each.name, "baseline") for each in chosen]
    assert cells[0] == first[0]
    for cell in kept(path):
        assert cell.builds
        assert cell.serves
        assert cell.difference is not None
        assert cell.tolerance is not None
        assert cell.difference <= cell.tolerance
    document = table(cells)
    assert "| MPNet | yes (" in document
    assert "not measured" in document
