import time

import pytest

from serve.dataplane.observations import Observations
from serve.dataplane.router import Assignment


def placed(variant: str, reason: str = "sticky") -> Assignment:
    return Assignment("m", variant, reason)  # type: ignore[arg-type]


def test_a_batch_is_repeated_until_it_is_acknowledged() -> None:
    observations = Observations()
    assert observations.batch() is None
    observations.assigned(placed("a", "weight"), None, 3)
    first = observations.batch()
    observations.assigned(placed("b", "weight"), None, 3)
    assert observations.batch() is first
    assert first is not None
    assert first["models"]["m"]["assigned"]["3"]["anonymous"] == {"a": 1}
    observations.acknowledge()
    second = observations.batch()
    assert second is not None
    assert (second["number"], second["models"]["m"]["assigned"]["3"]["anonymous"]) == (2, {"b": 1})


def test_a_client_is_reported_once_and_only_by_its_hash() -> None:
    observations = Observations()
    for variant in ("a", "a", "b"):
        observations.assigned(placed(variant), "alice", 1)
    batch = observations.batch()
    assert batch is not None
    assert list(batch["models"]["m"]["assigned"]["1"]["clients"].values()) == ["a"]
    assert "alice" not in str(batch)


@pytest.mark.parametrize("reason", ["pinned", "fallback", "capable"])
def test_only_the_routers_choices_count(reason: str) -> None:
    observations = Observations()
    observations.assigned(placed("a", reason), None, 1)
    assert observations.batch() is None


def test_a_second_is_reported_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.5
    monkeypatch.setattr(time, "monotonic", lambda: now)
    observations = Observations()
    for within in (True, True, False):
        observations.served("m", "digest", False, 0.1 if within else 3.0, 2.5)
    observations.served("m", "digest", True, 0.1, None)
    observations.late("m", "digest", 2.5)
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == {"requests": 4, "failed": 1, "seconds": []}
    observations.acknowledge()
    now = 1001.1
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == {"requests": 0, "failed": 0, "seconds": [(2.5, 2, 4)]}


def test_requests_that_an_artifact_cannot_answer_are_counted_once() -> None:
    observations = Observations()
    for unable in (["a"], [], ["a", "b"]):
        observations.routed("m", unable)
    batch = observations.batch()
    assert batch is not None
    assert batch["models"]["m"]["routed"] == {"requests": 3, "unable": {"a": 2, "b": 1}}
    observations.acknowledge()
    assert observations.batch() is None
