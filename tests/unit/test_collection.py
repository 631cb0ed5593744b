"""Every folder of tests is collected: pytest passes over folders by name, and says nothing of it."""

from fnmatch import fnmatch
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def test_no_folder_of_tests_is_passed_over(pytestconfig: pytest.Config) -> None:
    folders = {path.parent for path in TESTS.rglob("test_*.py")}
    assert len(folders) > 20
    skipped = pytestconfig.getini("norecursedirs")
    assert [str(folder) for folder in folders if any(fnmatch(folder.name, pattern) for pattern in skipped)] == []
