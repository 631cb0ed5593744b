"""Real data that may not be copied into the project: where it is not there, a test that needs it skips and says so."""

import os
from pathlib import Path

import pytest


def zoo(name: str) -> Path:
    """Where the file is. Skips, or fails with `UNDERSTUDY_REQUIRE=zoo`, where UNDERSTUDY_ZOO does not lead to it."""
    folder = os.environ.get("UNDERSTUDY_ZOO")
    path = Path(folder or "") / name
    if folder and path.is_file():
        return path
    reason = f"UNDERSTUDY_ZOO={folder} has no {name}" if folder else "UNDERSTUDY_ZOO names no folder of real data"
    if "zoo" in os.environ.get("UNDERSTUDY_REQUIRE", ""):
        pytest.fail(reason)
    pytest.skip(reason)
