"""docs/notebook.ipynb runs: its code cells are carried out in order, in a process of their own, as a notebook would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.long import long_only
from tests.support.processes import ROOT, borrow_home

pytestmark = pytest.mark.integration


@long_only
def test_the_notebook_builds_evaluates_and_compares(tmp_path: Path) -> None:
    notebook = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n\n".join(cells))
    environment = os.environ | {"UNDERSTUDY_HOME": str(borrow_home(tmp_path / "home")), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(tmp_path / "cells.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    baseline, int8, *figures, difference = done.stdout.splitlines()
    assert baseline.startswith("minilm@baseline: f32, ")
    assert int8.startswith("minilm@int8: int8, ")
    assert [figure.partition(":")[0] for figure in figures] == ["f32", "int8"]
    assert "less its parent's: " in difference
