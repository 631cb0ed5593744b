"""One truth about traffic, whatever a stack brings during a rollout, and whatever goes wrong with one model."""

import logging
from pathlib import Path
from typing import Any

import pytest

from serve.director import Director
from serve.journal import Journal
from serve.live import Live, live_of
from tests.family import Family
from tests.integration.serve.test_rollout import add_cost
from variants.errors import InputError

SCRIPTED = {"kind": "scripted"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


@pytest.fixture
def family(tmp_path: Path) -> Family:
    found = Family(tmp_path, 8000)
    found.variants = {
        "baseline": {"weight": 1, "engine": SCRIPTED},
        "int8": {"weight": 1, "parent": "baseline", "engine": SCRIPTED},
    }
    return found


def live(family: Family) -> Live:
    return live_of(family.stack, family.artifacts)


def begun(tmp_path: Path, family: Family, **plan: Any) -> Director:
    """With a rollout to int8 that has come to 50 %."""
    director = Director(tmp_path / "state", live(family))
    read, parent = director.read_plan("echo", {"variant": "int8", "steps": [50, 100], **plan})
    director.begin("echo", read, parent, "somebody")
    return director


def told(director: Director) -> tuple[Any, ...]:
    found = director.rollout_of("echo")
    return found["rollout"]["status"], found["rollout"]["why"], found["traffic"]["traffic"]["weights"]


def test_a_stack_with_other_traffic_ends_the_rollout(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    version = director.traffic_of("echo")["version"]
    family.variants["int8"]["weight"] = 0.25
    director.replace(live(family))
    assert told(director) == (
        "aborted", "a stack was applied: it declares other traffic", {"baseline": 1, "int8": 0.25}
    )  # fmt: skip
    found = director.traffic_of("echo")
    assert (found["version"], found["traffic"]["shadows"]) == (version + 1, {})
    again = Director(tmp_path / "state", live(family))
    assert told(again) == told(director)


def test_a_stack_with_the_same_traffic_leaves_it_alone(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    before = told(director)
    director.replace(live(family))
    assert told(director) == before
    assert before[0] == "running"


def test_versions_rise_when_variants_come_and_go(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    versions = [director.traffic_of("echo")["version"]]
    family.variants["int4"] = {"weight": 1, "parent": "baseline", "engine": SCRIPTED}
    director.replace(live(family))
    versions.append(director.traffic_of("echo")["version"])
    assert told(director)[0] == "aborted"
    del family.variants["int8"]
    director.replace(live(family))
    versions.append(director.traffic_of("echo")["version"])
    assert versions == sorted(set(versions))
    director.judge_all()
    director.set_traffic("echo", {"weights": {"baseline": 1, "int4": 2}}, None, "somebody", "")


def search(tmp_path: Path, family: Family) -> Director:
    """With a search that tries int4 first, and int8 then."""
    family.variants["int8"]["weight"] = 0
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": SCRIPTED}
    for variant, cost in (("baseline", 3.0), ("int8", 2.0), ("int4", 1.0)):
        add_cost(tmp_path, family, variant, cost)
    director = Director(tmp_path / "state", live(family))
    director.search("echo", {"objective": "cheapest"}, "somebody")
    return director


def fail(director: Director) -> None:
    """Every pair so far was worse."""
    rollout = director.ledger.rollouts["echo"]
    director.ledger.pair(rollout.pair).values["quality"] = {(0.0, 1.0): 500}  # type: ignore[assignment]
    director.judge_all()


def test_a_search_passes_over_a_candidate_that_was_removed(tmp_path: Path, family: Family) -> None:
    director = search(tmp_path, family)
    assert director.ledger.rollouts["echo"].queue == ("int8",)
    fail(director)
    assert director.ledger.rollouts["echo"].status == "rolled back"
    del family.variants["int8"]
    director.replace(live(family))
    director.judge_all()
    found = director.ledger.rollouts["echo"]
    assert (found.status, found.queue) == ("rolled back", ())
    assert found.why.endswith("no other candidate is served")


def test_a_search_goes_on_with_the_next(tmp_path: Path, family: Family) -> None:
    director = search(tmp_path, family)
    fail(director)
    director.judge_all()
    found = director.ledger.rollouts["echo"]
    assert (found.plan.variant, found.status, found.queue) == ("int8", "running", ())


def test_what_goes_wrong_with_one_model_is_logged_and_no_more(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    director = begun(tmp_path, family)
    judged = []

    def verdict(model: str, rollout: object) -> None:
        judged.append(model)
        raise KeyError(model)

    director.ledger.rollouts["digits"] = director.ledger.rollouts["echo"]
    director.ledger.traffic["digits"] = director.ledger.traffic["echo"]
    monkeypatch.setattr(director, "verdict", verdict)
    with caplog.at_level(logging.ERROR, "understudy.director"):
        director.judge_all()
    assert judged == [model for model in ("echo", "digits") if model in director.live.stack.models]
    assert "echo could not be judged" in caplog.text


@pytest.mark.parametrize("weight", [1e308, float("inf"), -1.0])
def test_refuses_weights_whose_sum_would_be_no_number(tmp_path: Path, family: Family, weight: float) -> None:
    director = Director(tmp_path / "state", live(family))
    with pytest.raises(InputError, match="weights"):
        director.set_traffic("echo", {"weights": {"baseline": weight, "int8": weight}}, None, "somebody", "")


def test_an_entry_that_cannot_be_counted_is_taken_back(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    before = list(Journal.entries(director.journal))
    with pytest.raises(KeyError):
        director.count("ingress", {"number": 1, "rules": 2, "models": {"echo": {}}})
    assert list(director.journal.entries()) == before
    assert director.ledger.batches == {}
    director.count("ingress", {"number": 1, "rules": 2, "models": {}})
    assert Director(tmp_path / "state", live(family)).ledger.batches == {"ingress": 1}
