"""What is public of `variants` and `serve`: few names, each documented, and nothing heavy before one is used."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import serve
import variants
from tests.unit.test_imports import HEAVY

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("package", [variants, serve], ids=["variants", "serve"])
def test_every_public_name_is_there_documented_and_explained(package: ModuleType) -> None:
    assert 0 < len(package.__all__) <= 20
    for name in package.__all__:
        assert getattr(package, name).__doc__, name
        assert name in str(package.__doc__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = package.nothing


@pytest.mark.parametrize("package", ["variants", "serve"])
def test_a_package_imports_its_names_only_when_they_are_used(package: str) -> None:
    code = (
        f"import {package}, sys; ours = [name for name in sys.modules if name.startswith(('variants', 'serve'))]; "
        f"from {package} import *; print(len(ours), [name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    before, heavy = done.stdout.split(maxsplit=1)
    assert int(before) <= 4
    assert heavy.strip() == "[]"
