"""One truth about traffic, whatever a stack brings during a rollout, and whatever goes wrong with one model."""

import logging
from pathlib import Path
from typing import Any

import pytest

from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.contract import RULES
from serve.control.traffic_manager import TrafficManager
from serve.protocols.answer_id import issue
from tests.integration.serve.control.test_rollout import add_cost
from tests.support.family import Family
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


def live(family: Family) -> Snapshot:
    return build_snapshot(family.stack, family.artifacts)


def begun(tmp_path: Path, family: Family, **plan: Any) -> TrafficManager:
    """With a rollout to int8 that has come to 50 %."""
    director = TrafficManager(tmp_path / "state", live(family))
    read, parent = director.read_plan("echo", {"variant": "int8", "steps": [50, 100], **plan})
    director.begin("echo", read, parent, "somebody")
    return director


def told(director: TrafficManager) -> tuple[Any, ...]:
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
    again = TrafficManager(tmp_path / "state", live(family))
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


def search(tmp_path: Path, family: Family) -> TrafficManager:
    """With a search that tries int4 first, and int8 then."""
    family.variants["int8"]["weight"] = 0
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": SCRIPTED}
    for variant, cost in (("baseline", 3.0), ("int8", 2.0), ("int4", 1.0)):
        add_cost(tmp_path, family, variant, cost)
    director = TrafficManager(tmp_path / "state", live(family))
    director.search("echo", {"objective": "cheapest"}, "somebody")
    return director


def fail(director: TrafficManager) -> None:
    """Every pair so far was worse."""
    rollout = director.ledger.rollouts["echo"]
    director.ledger.pair(rollout.pair).values["quality"] = {(0.0, 1.0): 500}
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
    director = TrafficManager(tmp_path / "state", live(family))
    with pytest.raises(InputError, match="weights"):
        director.set_traffic("echo", {"weights": {"baseline": weight, "int8": weight}}, None, "somebody", "")


def test_an_entry_that_cannot_be_counted_is_taken_back(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    before = list(director.journal.entries())
    with pytest.raises(KeyError):
        director.write("outcomes", {"ingress": "i", "number": 1, "rules": RULES, "models": {"echo": {}}})
    assert list(director.journal.entries()) == before
    assert director.ledger.batches == {}


def test_a_batch_that_cannot_be_counted_is_left_out(
    tmp_path: Path, family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    director = begun(tmp_path, family)
    director.count("i", {"number": 1, "rules": RULES, "models": {"echo": {}}})
    assert "batch 1 of ingress i cannot be counted" in caplog.text
    assert director.ledger.batches == {"i": 1}
    assert TrafficManager(tmp_path / "state", live(family)).ledger.batches == {"i": 1}


def test_a_build_that_takes_the_place_of_one_in_a_rollout_gets_none_of_its_traffic(
    tmp_path: Path, family: Family
) -> None:
    director = begun(tmp_path, family, steps=[90, 100])
    family.builds["int8"] = 2
    director.replace(live(family))
    assert told(director) == ("aborted", "one of its builds is no longer live", {"baseline": 1, "int8": 1})
    assert director.traffic_of("echo")["traffic"]["shadows"] == {}


def test_traffic_of_other_variants_than_the_stack_has_is_not_gone_on_with(tmp_path: Path, family: Family) -> None:
    director = TrafficManager(tmp_path / "state", live(family))
    standing = director.ledger.traffic["echo"]
    odd = standing.traffic.model_dump(mode="json") | {"weights": {"baseline": 1.0}}
    declared = standing.declared.model_dump(mode="json")
    director.journal.append(("traffic", {"model": "echo", "version": 7, "traffic": odd, "declared": declared}))
    again = TrafficManager(tmp_path / "state", live(family))
    assert again.traffic_of("echo")["traffic"]["weights"] == {"baseline": 1, "int8": 1}
    assert again.traffic_of("echo")["version"] > 7


def test_feedback_on_what_was_asked_for_by_name_is_no_evidence(tmp_path: Path, family: Family) -> None:
    director = begun(tmp_path, family)
    digest = family.digest("int8")
    for number, reason in enumerate(("weight", "pinned")):
        director.feedback({"id": issue("echo", "int8", digest, reason, str(number)), "score": 1.0})
    assert director.ledger.feedback_on(digest).n == 1


def test_costs_are_of_the_engine_that_serves(tmp_path: Path, family: Family) -> None:
    add_cost(tmp_path, family, "int8", 2.0)
    director = TrafficManager(tmp_path / "state", live(family))
    assert director.costs_of("echo", ["int8"]) == {"int8": 2.0}
    family.variants["int8"]["engine"] = {"kind": "scripted", "token_s": 0.5}
    director.replace(live(family))
    assert director.costs_of("echo", ["int8"]) == {"int8": None}
