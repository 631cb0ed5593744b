"""A model with a parent and a variant on scripted engines, in a home of its own."""

from pathlib import Path

import pytest

from serve.config.snapshot import Snapshot, build_snapshot
from tests.support.family import Family

SCRIPTED = {"kind": "scripted"}


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, 8000)
    family.variants = {
        "baseline": {"weight": 1, "engine": SCRIPTED},
        "int8": {"weight": 0, "parent": "baseline", "engine": SCRIPTED},
    }
    return family


@pytest.fixture
def snapshot(family: Family) -> Snapshot:
    return build_snapshot(family.stack, family.artifacts)
