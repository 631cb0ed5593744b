"""What an earlier version has written is read by this one: a stack file, a store, a journal, a campaign's summary.

`tests/kept/schema-1` was written on 2026-11-30 by the version before the folders were rearranged: a rollout on scripted
engines, promoted by its gate, with feedback. docs/versions.md says which documents there are.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from loadtest.results.schema import Summary
from serve.config.loader import load
from serve.config.snapshot import build_snapshot
from serve.control.state import ControlState
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


def test_the_journal_replays_to_the_same_decisions(home: Path, artifacts: dict[tuple[str, str], Artifact]) -> None:
    """Traffic, versions and the rollout are as they were. Its outcomes were counted by rules 2, and no longer count."""
    snapshot = build_snapshot(load(KEPT / "stack.yaml"), artifacts)
    manager = TrafficManager(home.parent / "state", snapshot)
    rollout, expected = manager.rollout_of("echo"), json.loads((KEPT / "expected.json").read_text())
    assert rollout["rollout"]["status"] == "promoted"
    assert within(expected["rollout"], rollout["rollout"])
    assert rollout["traffic"] == expected["traffic"]
    assert rollout["pairs"]["compared"] == rollout["pairs"]["chosen"] == 0
    assert rollout["verdict"]["decision"] == "inconclusive"
    manager.judge_all()
    assert manager.rollout_of("echo") == rollout


def test_every_decision_of_the_journal_is_read(home: Path) -> None:
    """Each entry of a rollout, with the feedback that came with it."""
    entries = [json.loads(line) for line in (home.parent / "state" / "journal.jsonl").read_text().splitlines()]
    state = ControlState()
    for entry in entries:
        state.apply(entry)
        if entry["kind"] == "rollout":
            rollout = state.rollouts["echo"]
            assert within(entry["rollout"], rollout.to_json())
            assert state.traffic["echo"].traffic.model_dump(mode="json") == entry["traffic"]
    assert state.batches == {entry["ingress"]: entry["number"] for entry in entries if entry["kind"] == "outcomes"}
    assert (
        sum(tally.n for tally in state.feedback.values()) == sum(entry["kind"] == "feedback" for entry in entries) > 0
    )


def within(old: Any, new: Any) -> bool:
    """Whether `new` has everything of `old`, unchanged; it may have more fields."""
    if isinstance(old, dict):
        return all(name in new and within(value, new[name]) for name, value in old.items())
    return bool(old == new)


def test_the_summary_is_read() -> None:
    summary = Summary.model_validate_json((KEPT / "summary.json").read_bytes())
    assert json.loads(summary.to_json()) == json.loads((KEPT / "summary.json").read_text())
