import json
import time

import pytest

from serve.config.snapshot import Judged
from serve.dataplane.observations import MOST_SOURCES, Observations
from serve.dataplane.router import Assignment
from serve.dataplane.served import Result

NOBODY = (None, None)


def placed(variant: str, reason: str = "sticky") -> Assignment:
    return Assignment("m", variant, reason)  # type: ignore[arg-type]


def test_a_batch_is_repeated_until_it_is_acknowledged() -> None:
    observations = Observations()
    assert observations.batch() is None
    observations.assigned(placed("a", "weight"), None, 3, NOBODY)
    first = observations.batch()
    observations.assigned(placed("b", "weight"), None, 3, NOBODY)
    assert observations.batch() is first
    assert first is not None
    assert first["models"]["m"]["assigned"]["3"]["anonymous"] == {"a": 1}
    observations.acknowledge()
    second = observations.batch()
    assert second is not None
    assert (second["number"], second["models"]["m"]["assigned"]["3"]["anonymous"]) == (2, {"b": 1})


def test_a_client_is_reported_once() -> None:
    observations = Observations()
    for variant in ("a", "a", "b"):
        observations.assigned(placed(variant), "hash of alice", 1, ("team", "alice"))
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["assigned"]["1"]["clients"] == {"hash of alice": "a"}


def test_assignments_name_where_they_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key, the client, the reason and the hour. Many clients of one key count together."""
    monkeypatch.setattr(time, "time", lambda: 7200.0)
    observations = Observations()
    observations.assigned(placed("a"), "hash of alice", 1, ("team", "alice"))
    for number in range(MOST_SOURCES + 2):
        observations.assigned(placed("b", "weight"), None, 1, (None, f"client {number}"))
    batch = observations.batch()
    assert batch is not None
    assigned = json.loads(json.dumps(batch))["models"]["m"]["assigned"]["1"]
    assert assigned["named"] == {"hash of alice": ["team", "*", "sticky", 2]}
    assert assigned["sources"][0] == ["", "client 0", "weight", 2, {"b": 1}]
    assert assigned["sources"][-1] == ["", "others", "weight", 2, {"b": 2}]
    assert len(assigned["sources"]) == MOST_SOURCES + 1


@pytest.mark.parametrize("reason", ["pinned", "fallback", "capable"])
def test_only_the_routers_choices_count(reason: str) -> None:
    observations = Observations()
    observations.assigned(placed("a", reason), None, 1, NOBODY)
    assert observations.batch() is None


def test_results_are_reported_when_their_second_and_block_are_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.5
    monkeypatch.setattr(time, "time", lambda: now)
    observations = Observations()
    observations.served("m", "digest", Result(3, ("key", "ann"), failed=False, took_s=0.1), Judged(2.5))
    batch = observations.batch()
    assert batch is not None
    assert batch["rules"] == 3
    nothing = {"requests": 0, "failed": 0, "left": 0, "failed_at_both": 0, "seconds": [], "minutes": []}
    assert batch["models"]["m"]["served"]["digest"] == nothing | {"requests": 1}
    observations.acknowledge()
    now = 1001.1
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == nothing | {"seconds": [[3, 1000, 1, 0.0]]}
    observations.acknowledge()
    now = 1020.0
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == nothing | {"minutes": [[3, 2.5, 16, 1, 1, 0.1, 0.1]]}
    observations.acknowledge()
    assert observations.batch() is None


def test_requests_that_an_artifact_cannot_answer_are_counted_once() -> None:
    observations = Observations()
    for unable in (["a"], [], ["a", "b"]):
        observations.routed("m", unable)
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["routed"] == {"requests": 3, "unable": {"a": 2, "b": 1}}
    observations.acknowledge()
    assert observations.batch() is None


def test_shadows_are_reported_with_what_was_seen_skipped_and_lost() -> None:
    observations = Observations()
    shadowed = observations.shadowed("m", "a:b:c")
    shadowed.seen, shadowed.chosen = 3, 2
    shadowed.incomparable["echo"] += 1
    shadowed.skipped.append(7)
    shadowed.lost["quality"] = {"timed out": [8]}
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["shadows"] == {
        "a:b:c": {
            "seen": 3, "incomparable": {"echo": 1}, "chosen": 2,
            "skipped": [7], "lost": {"quality": {"timed out": [8]}}, "pairs": [], "opinions": [],
        }
    }  # fmt: skip
