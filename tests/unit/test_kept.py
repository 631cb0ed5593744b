"""What an earlier version has written is read by this one: a stack file, a store, a journal, a campaign's summary.

`tests/kept/schema-1` was written on 2026-11-30 by the version before the folders were rearranged: a rollout on scripted
engines, promoted by its gate, with feedback. docs/versions.md says which documents there are.
"""

import json
import shutil
from pathlib import Path

import pytest

from loadtest.results.schema import Summary
from serve.config.loader import load
from serve.config.snapshot import build_snapshot
from serve.control.traffic_manager import TrafficManager
from variants.artifacts.catalog import Catalog
from variants.artifacts.store import Artifact, Store

KEPT = Path(__file__).parents[1] / "kept" / "schema-1"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy: whoever opens a store or a journal writes beside it."""
    shutil.copytree(KEPT, tmp_path / "kept")
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path / "kept" / "home"))
    return tmp_path / "kept" / "home"


@pytest.fixture
def artifacts(home: Path) -> dict[tuple[str, str], Artifact]:
    """Each variant's current artifact, every file hashed."""
    entry, store = Catalog(home).model("echo"), Store(home)
    return {("echo", variant): store.open(entry.current(variant).key) for variant in entry.variants}


def test_the_stack_file_is_read() -> None:
    stack = load(KEPT / "stack.yaml")
    assert set(stack.models["echo"].variants) == {"baseline", "int8"}


def test_the_store_is_whole(artifacts: dict[tuple[str, str], Artifact]) -> None:
    assert set(artifacts) == {("echo", "baseline"), ("echo", "int8")}
    assert all(artifact.manifest.files for artifact in artifacts.values())


def test_the_journal_replays_to_the_same_state(home: Path, artifacts: dict[tuple[str, str], Artifact]) -> None:
    snapshot = build_snapshot(load(KEPT / "stack.yaml"), artifacts)
    rollout = TrafficManager(home.parent / "state", snapshot).rollout_of("echo")
    expected = json.loads((KEPT / "expected.json").read_text())
    assert rollout["rollout"]["status"] == "promoted"
    for part in ("rollout", "verdict", "pairs", "assignments"):
        assert rollout[part] == expected[part], part
    assert rollout["traffic"]["traffic"] == expected["traffic"]["traffic"]


def test_the_summary_is_read() -> None:
    summary = Summary.model_validate_json((KEPT / "summary.json").read_bytes())
    assert json.loads(summary.to_json()) == json.loads((KEPT / "summary.json").read_text())
