"""A full disk stops no roll-back: it takes effect at once, and is written when there is room."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serve.config.snapshot import Snapshot
from serve.control.contract import RULES, Heartbeat
from serve.control.controller import Controller
from serve.control.journal import Journal
from serve.control.rollout import read_plan
from serve.control.traffic_manager import TrafficManager
from variants.errors import StoreFull


@pytest.fixture
def manager(tmp_path: Path, snapshot: Snapshot) -> TrafficManager:
    """With a rollout that has half of the traffic, and evidence of harm on disk."""
    manager = TrafficManager(tmp_path / "state", snapshot)
    plan, parent = read_plan(
        {"variant": "int8", "steps": [50, 100], "gate": {"errors": 0.05}}, manager.model("echo"), "echo"
    )
    manager.begin("echo", plan, parent, "somebody")
    manager.count("i", harm(manager, 1))
    return manager


def harm(manager: TrafficManager, number: int) -> dict[str, Any]:
    """A report: every one of 200 requests failed at the variant."""
    parent, variant = manager.state.rollouts["echo"].digests
    version = manager.state.traffic["echo"].version
    served = {
        digest: {
            "requests": 200, "failed": 200 * (digest == variant), "left": 0, "minutes": [],
            "seconds": [[version, 1000 * number + at, 1, float(digest == variant)] for at in range(200)],
        }
        for digest in (parent, variant)
    }  # fmt: skip
    return {"number": number, "rules": RULES, "models": {"echo": {"assigned": {}, "served": served, "shadows": {}}}}


def no_room(self: Journal, *entries: object) -> None:
    raise StoreFull("the disk is full")


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The disk is full until `undo`."""
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", no_room)
        yield patch


def shares(manager: TrafficManager) -> dict[str, float]:
    return dict(manager.snapshot.traffic["echo"].traffic.shares)


def test_a_rollback_takes_effect_on_a_full_disk_and_is_written_later(
    manager: TrafficManager, snapshot: Snapshot, full: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert shares(manager) == {"baseline": 0.5, "int8": 0.5}
    manager.judge_all()
    assert shares(manager) == {"baseline": 1.0, "int8": 0.0}
    answer = manager.rollout_of("echo")
    assert answer["rollout"]["status"] == "rolled back"
    assert answer["on_disk"] is False
    assert "in effect, but not on disk" in caplog.text
    manager.judge_all()
    assert len(manager.unwritten) == 1
    full.undo()
    manager.judge_all()
    assert manager.rollout_of("echo")["on_disk"] is True
    state = TrafficManager(manager.journal.file.parent, snapshot).state
    assert state == manager.state
    assert state.rollouts["echo"].status == "rolled back"


def test_another_step_waits_for_room(manager: TrafficManager, full: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreFull):
        manager.steer("echo", "pause", "somebody")
    assert manager.state.rollouts["echo"].status == "running"


def test_what_is_in_effect_is_written_before_later_entries(manager: TrafficManager, full: pytest.MonkeyPatch) -> None:
    manager.judge_all()
    full.undo()
    manager.count("i", harm(manager, 2))
    kinds = [entry["kind"] for entry in manager.journal.entries()]
    assert kinds == ["traffic", "rollout", "outcomes", "rollout", "outcomes"]


def test_an_entry_that_cannot_be_applied_takes_no_rollback_with_it(
    manager: TrafficManager, full: pytest.MonkeyPatch
) -> None:
    manager.judge_all()
    full.undo()
    with pytest.raises(KeyError):
        manager.write(("outcomes", {"ingress": "i", "number": 2, "rules": RULES, "models": {"echo": {}}}))
    assert manager.state.rollouts["echo"].status == "rolled back"
    assert len(manager.unwritten) == 1


async def test_an_ingress_learns_of_a_rollback_on_a_full_disk(
    manager: TrafficManager, snapshot: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    controller = Controller(snapshot, str(tmp_path), str(tmp_path / "state"), object())  # type: ignore[arg-type]
    manager = controller.traffic_manager
    monkeypatch.setattr(controller, "ticking", True)  # no engines to sweep
    monkeypatch.setattr(Journal, "append", no_room)
    older = manager.snapshot.version
    with pytest.raises(StoreFull):  # it keeps its report, and has the snapshot
        await controller.heartbeat(Heartbeat("i", older, frozenset(), {}, harm(manager, 2)))
    manager.judge_all()
    taken = await controller.heartbeat(Heartbeat("i", older, frozenset(), {}, harm(manager, 2)))
    assert taken is not None
    assert taken.traffic["echo"].traffic.shares == {"baseline": 1.0, "int8": 0.0}
    assert manager.state.batches == {"i": 2}
    monkeypatch.undo()
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    manager.judge_all()
    assert TrafficManager(tmp_path / "state", snapshot).state == manager.state
