"""Rollouts have ids, decisions for ever, and evidence over time in bounded space."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from serve.config.snapshot import Snapshot
from serve.control.checkpoint import compact
from serve.control.contract import RULES
from serve.control.journal import Journal
from serve.control.records import history
from serve.control.records.history import FEW_POINTS, MOST_POINTS, History, Record, thinned
from serve.control.rollout import read_plan
from serve.control.traffic_manager import TrafficManager
from variants.errors import StoreFull, UnknownName

BEGAN = datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture
def manager(tmp_path: Path, snapshot: Snapshot) -> TrafficManager:
    return TrafficManager(tmp_path / "state", snapshot)


def begin(manager: TrafficManager) -> None:
    plan, parent = read_plan(
        {"variant": "int8", "steps": [50, 100], "gate": {"errors": 0.05}}, manager.model("echo"), "echo"
    )
    manager.begin("echo", plan, parent, "somebody")


def count(manager: TrafficManager, failed: int, requests: int = 20) -> None:
    parent, variant = manager.state.rollouts["echo"].digests
    number = manager.state.batches.get("i", 0) + 1
    version = manager.state.traffic["echo"].version
    served = {
        digest: {
            "requests": requests, "failed": fails, "left": 0, "minutes": [],
            "seconds": [[version, 100 * number + at, 1, float(at < fails)] for at in range(requests)],
        }
        for digest, fails in ((parent, 0), (variant, failed))
    }  # fmt: skip
    model = {"assigned": {}, "served": served, "shadows": {}}
    manager.count("i", {"number": number, "rules": RULES, "models": {"echo": model}})


def test_every_rollout_has_an_id_of_its_first_entry(manager: TrafficManager, snapshot: Snapshot) -> None:
    begin(manager)
    first = manager.rollout_of("echo")["id"]
    manager.steer("echo", "pause", "ops")
    manager.steer("echo", "abort", "ops")
    begin(manager)
    listed = manager.rollouts_of("echo")["rollouts"]
    assert [(each["id"], each["status"], each["who"]) for each in listed] == [
        ("r-5", "running", "somebody"), ("r-2", "aborted", "somebody")
    ]  # fmt: skip
    assert first == "r-2"
    assert listed[1]["why"] == "abort by ops"
    assert listed[0]["ended"] is None
    assert listed[1]["ended"] >= listed[1]["began"]
    again = TrafficManager(manager.journal.file.parent, snapshot)
    assert again.rollouts_of("echo") == manager.rollouts_of("echo")


def test_a_document_names_the_entry_of_each_figure(manager: TrafficManager) -> None:
    begin(manager)
    count(manager, failed=0)
    manager.judge_all()
    count(manager, failed=20)
    count(manager, failed=20)
    manager.judge_all()
    document = manager.rollout_document("echo", "r-2")
    entries = {entry["seq"]: entry for entry in manager.journal.entries()}
    assert document["status"] == "rolled back"
    assert [step["status"] for step in document["steps"]] == ["running", "rolled back"]
    for step in document["steps"]:
        assert entries[step["seq"]]["rollout"]["status"] == step["status"]
        assert entries[step["seq"]]["at"] == step["at"]
    assert [entries[point["seq"]]["kind"] for point in document["evidence"]] == ["progress", "rollout"]
    errors = document["evidence"][-1]["metrics"]["errors"]
    assert (errors["n"], errors["mean"], errors["limit"], errors["state"]) == (60, pytest.approx(2 / 3), 0.05, "broken")
    assert document["verdict"]["decision"] == "roll back"
    assert document["verdict"]["seq"] == document["steps"][-1]["seq"] == document["journal"]["last"]
    assert document["account"]["pairs"]["compared"] == 0
    assert document["engines"]["int8"]["settings"]["kind"] == "scripted"
    assert document["machine"]["cores"] >= 1
    assert "understudy" in document["versions"]


def test_a_running_rollout_is_told_as_of_the_last_entry(manager: TrafficManager) -> None:
    begin(manager)
    count(manager, failed=0)
    document = manager.rollout_document("echo", "r-2")
    assert document["verdict"]["seq"] == document["account"]["seq"] == manager.journal.seq == 3
    assert document["verdict"]["findings"]


def test_a_checkpoint_keeps_the_document(manager: TrafficManager, snapshot: Snapshot) -> None:
    begin(manager)
    count(manager, failed=0)
    manager.judge_all()
    manager.steer("echo", "abort", "ops")
    before = manager.rollout_document("echo", "r-2")
    compact(manager.journal, manager.state)
    assert TrafficManager(manager.journal.file.parent, snapshot).rollout_document("echo", "r-2") == before


def test_an_unknown_id_names_the_latest_ones(manager: TrafficManager) -> None:
    begin(manager)
    with pytest.raises(UnknownName, match=r"no rollout 'r-9' \(the latest are: r-2\)"):
        manager.rollout_document("echo", "r-9")


def test_what_was_left_out_is_told(manager: TrafficManager) -> None:
    begin(manager)
    pair = manager.state.pair(manager.state.rollouts["echo"].pair)
    pair.routed, pair.not_served = 100, 7
    assert (
        "7 of 100 requests need what the variant cannot answer" in manager.rollout_document("echo", "r-2")["left_out"]
    )


def test_progress_that_cannot_be_written_stops_no_verdict(
    manager: TrafficManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(manager)
    count(manager, failed=20, requests=60)

    def append(self: Journal, *entries: object) -> None:
        raise StoreFull("the disk is full")

    monkeypatch.setattr(Journal, "append", append)
    manager.note_progress("echo", {"decision": "inconclusive", "findings": []})
    manager.judge_all()
    assert manager.state.rollouts["echo"].status == "rolled back"


def record(**more: Any) -> Record:
    usual: dict[str, Any] = {"began": BEGAN.isoformat(), "around": {}, "steps": [{"status": "running"}]}
    return Record("r-1", "m", "int8", "baseline", ["a", "b"], {}, "ops", **usual | more)


def point(after_s: float, decision: str = "inconclusive") -> dict[str, Any]:
    return {"seq": 1, "at": (BEGAN + timedelta(seconds=after_s)).isoformat(), "decision": decision, "metrics": {}}


@pytest.mark.parametrize(
    ("last_s", "now_s", "decision", "due"),
    [
        (5, 5.9, "inconclusive", False),
        (5, 6.1, "inconclusive", True),
        (5, 5.1, "promote", True),
        (1000, 1019, "inconclusive", False),
        (1000, 1021, "inconclusive", True),
        (90_000, 90_059, "inconclusive", False),
        (90_000, 90_061, "inconclusive", True),
    ],
)
def test_points_come_sooner_while_a_rollout_is_young(last_s: float, now_s: float, decision: str, due: bool) -> None:
    assert record(points=[point(last_s)]).is_due(decision, BEGAN + timedelta(seconds=now_s)) is due
    assert record().is_due(decision, BEGAN)


def test_points_are_thinned_evenly_over_time() -> None:
    each = record()
    for number in range(5 * MOST_POINTS):
        each.add_point(point(60.0 * number))
    assert len(each.points) == MOST_POINTS
    assert each.points[0] == point(0)
    assert each.points[-1] == point(60.0 * (5 * MOST_POINTS - 1))
    times = [datetime.fromisoformat(every["at"]) for every in each.points]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    assert max(gaps) <= 60 * 20
    assert thinned([point(0), point(1)], 2) == [point(0), point(1)]


def test_rollouts_of_long_ago_keep_few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "WHOLE", 2)
    kept = History()
    for _ in range(4):
        kept.add(record(points=[point(second) for second in range(100)]))
    assert [len(each.points) for each in kept.of("m")] == [FEW_POINTS, FEW_POINTS, 100, 100]
