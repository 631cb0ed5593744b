"""Pictures that are too large for the repository are refused."""

from pathlib import Path

import pytest

from loadtest.benchmarks.console.screenshots import MOST_BYTES, check_sizes
from loadtest.errors import LoadError


def test_a_picture_that_is_too_large_is_named(tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    small.write_bytes(bytes(MOST_BYTES - 1))
    check_sizes([small])
    large.write_bytes(bytes(MOST_BYTES))
    with pytest.raises(LoadError, match=r"large\.png: 300,000 bytes"):
        check_sizes([small, large])
