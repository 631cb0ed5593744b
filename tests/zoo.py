"""Real data that may not be copied into the project: where it is not there, a test that needs it skips and says so.
What is required on it is kept for the study's page, also where it is not met."""

import os
from pathlib import Path
from typing import Any

import pytest

from serve.study.requirement import Requirement, found_here, keep
from serve.study.words import met
from tests.processes import ROOT


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


def require(name: str, what: str, **given: Any) -> Requirement:
    """Keep what was found and what is required, met or not, with `why` where the reason for a miss is known; a test
    that has kept all of its own asks for `all_met`."""
    found = found_here(name, what, command="make test-zoo", **given)
    keep(found, ROOT / "out" / "study")
    return found


def all_met(*required: Requirement) -> None:
    missed = [f"{each.what}: {each.value:.4g}, {met(each)}" for each in required if not each.met]
    assert not missed, "\n".join(missed)
