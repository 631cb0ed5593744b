import time

import pytest

from serve.dataplane.observations import Observations
from serve.dataplane.router import Assignment


def placed(variant: str, reason: str = "sticky") -> Assignment:
    return Assignment("m", variant, reason)  # type: ignore[arg-type]


def test_a_batch_is_given_until_it_is_told() -> None:
    outcomes = Observations()
    assert outcomes.batch() is None
    outcomes.assigned(placed("a", "weight"), None, 3)
    first = outcomes.batch()
    outcomes.assigned(placed("b", "weight"), None, 3)
    assert outcomes.batch() is first
    assert first is not None
    assert first["models"]["m"]["assigned"]["3"]["anonymous"] == {"a": 1}
    outcomes.told()
    second = outcomes.batch()
    assert second is not None
    assert (second["number"], second["models"]["m"]["assigned"]["3"]["anonymous"]) == (2, {"b": 1})


def test_a_client_is_named_once_and_never_by_its_name() -> None:
    outcomes = Observations()
    for variant in ("a", "a", "b"):
        outcomes.assigned(placed(variant), "alice", 1)
    batch = outcomes.batch()
    assert batch is not None
    assert list(batch["models"]["m"]["assigned"]["1"]["clients"].values()) == ["a"]
    assert "alice" not in str(batch)


@pytest.mark.parametrize("reason", ["pinned", "fallback"])
def test_only_the_routers_choices_count(reason: str) -> None:
    outcomes = Observations()
    outcomes.assigned(placed("a", reason), None, 1)
    assert outcomes.batch() is None


def test_a_second_is_told_when_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.5
    monkeypatch.setattr(time, "monotonic", lambda: now)
    outcomes = Observations()
    for within in (True, True, False):
        outcomes.served("m", "digest", False, 0.1 if within else 3.0, 2.5)
    outcomes.served("m", "digest", True, 0.1, None)
    outcomes.late("m", "digest", 2.5)
    batch = outcomes.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == {"requests": 4, "failed": 1, "seconds": []}
    outcomes.told()
    now = 1001.1
    batch = outcomes.batch()
    assert batch is not None
    assert batch["models"]["m"]["served"]["digest"] == {"requests": 0, "failed": 0, "seconds": [(2.5, 2, 4)]}
