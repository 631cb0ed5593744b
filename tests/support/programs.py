"""Programs that are no Python packages: a test that needs one skips with the reason where it is not installed."""

import os
import shutil

import pytest


def need(program: str) -> str:
    """Where the program is. Skips, or fails with `UNDERSTUDY_REQUIRE=programs`, where it is not installed."""
    path = shutil.which(program)
    if path is None:
        reason = f"{program} is not installed: apt-get install {program}"
        if "programs" in os.environ.get("UNDERSTUDY_REQUIRE", ""):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
