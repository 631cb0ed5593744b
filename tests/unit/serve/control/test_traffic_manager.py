"""Traffic stays consistent when a stack changes during a rollout, and when one model has an error."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.contract import RULES
from serve.control.rollout import read_plan
from serve.control.traffic_manager import TrafficManager
from serve.errors import Conflict
from serve.protocols.answer_id import issue
from tests.integration.serve.control.test_rollout import add_cost
from tests.support.family import Family
from tests.unit.serve.control.test_pair_evidence import NOTHING, pair
from variants.artifacts.card import Accuracy, Difference
from variants.artifacts.catalog import Catalog
from variants.errors import InputError
from variants.evidence.gate import Verdict

SCRIPTED = {"kind": "scripted"}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


@pytest.fixture
def family(tmp_path: Path) -> Family:
    family = Family(tmp_path, 8000)
    family.variants = {
        "baseline": {"weight": 1, "engine": SCRIPTED},
        "int8": {"weight": 1, "parent": "baseline", "engine": SCRIPTED},
    }
    return family


def snapshot(family: Family) -> Snapshot:
    return build_snapshot(family.stack, family.artifacts)


def begun(tmp_path: Path, family: Family, **plan: Any) -> TrafficManager:
    """A traffic manager with a rollout to int8 at 50 %."""
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    document = {"variant": "int8", "steps": [50, 100], **plan}
    rollout_plan, parent = read_plan(document, traffic_manager.model("echo"), "echo")
    traffic_manager.begin("echo", rollout_plan, parent, "somebody")
    return traffic_manager


def outcome(traffic_manager: TrafficManager) -> tuple[Any, ...]:
    answer = traffic_manager.rollout_of("echo")
    return answer["rollout"]["status"], answer["rollout"]["why"], answer["traffic"]["traffic"]["weights"]


def test_a_stack_with_other_traffic_ends_the_rollout(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    version = traffic_manager.traffic_of("echo")["version"]
    family.variants["int8"]["weight"] = 0.25
    traffic_manager.replace(snapshot(family))
    assert outcome(traffic_manager) == (
        "aborted", "a stack was applied: it declares other traffic", {"baseline": 1, "int8": 0.25}
    )  # fmt: skip
    answer = traffic_manager.traffic_of("echo")
    assert (answer["version"], answer["traffic"]["shadows"]) == (version + 1, {})
    again = TrafficManager(tmp_path / "state", snapshot(family))
    assert outcome(again) == outcome(traffic_manager)


def test_a_stack_with_the_same_traffic_keeps_the_rollout(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    before = outcome(traffic_manager)
    traffic_manager.replace(snapshot(family))
    assert outcome(traffic_manager) == before
    assert before[0] == "running"


def test_versions_rise_when_variants_are_added_and_removed(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    versions = [traffic_manager.traffic_of("echo")["version"]]
    family.variants["int4"] = {"weight": 1, "parent": "baseline", "engine": SCRIPTED}
    traffic_manager.replace(snapshot(family))
    versions.append(traffic_manager.traffic_of("echo")["version"])
    assert outcome(traffic_manager)[0] == "aborted"
    del family.variants["int8"]
    traffic_manager.replace(snapshot(family))
    versions.append(traffic_manager.traffic_of("echo")["version"])
    assert versions == sorted(set(versions))
    traffic_manager.judge_all()
    traffic_manager.set_traffic("echo", {"weights": {"baseline": 1, "int4": 2}}, None, "somebody", "")


def test_a_variant_that_was_removed_since_the_plan_was_read_is_refused(tmp_path: Path, family: Family) -> None:
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    plan, parent = read_plan({"variant": "int8"}, traffic_manager.model("echo"), "echo")
    del family.variants["int8"]
    traffic_manager.replace(snapshot(family))
    with pytest.raises(Conflict, match="echo@int8 is no longer served"):
        traffic_manager.begin("echo", plan, parent, "somebody")


def search(tmp_path: Path, family: Family) -> TrafficManager:
    """A traffic manager with a search that tries int4, then int8."""
    family.variants["int8"]["weight"] = 0
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": SCRIPTED}
    for variant, cost in (("baseline", 3.0), ("int8", 2.0), ("int4", 1.0)):
        add_cost(tmp_path, family, variant, cost)
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    plan, parent, queue = traffic_manager.plan_search("echo", {"objective": "cheapest"})
    traffic_manager.begin("echo", plan, parent, "somebody", queue)
    return traffic_manager


def fail(traffic_manager: TrafficManager) -> None:
    """Judge with every pair so far worse."""
    rollout = traffic_manager.state.rollouts["echo"]
    traffic_manager.state.pair(rollout.pair).evidence.quality.by_request[0.0, 1.0] = 500
    traffic_manager.judge_all()


def test_a_search_skips_a_candidate_that_was_removed(tmp_path: Path, family: Family) -> None:
    traffic_manager = search(tmp_path, family)
    assert traffic_manager.state.rollouts["echo"].queue == ("int8",)
    fail(traffic_manager)
    assert traffic_manager.state.rollouts["echo"].status == "rolled back"
    del family.variants["int8"]
    traffic_manager.replace(snapshot(family))
    traffic_manager.judge_all()
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.status, rollout.queue) == ("rolled back", ())
    assert rollout.why.endswith("no other candidate is served")


def test_a_search_continues_with_the_next_candidate(tmp_path: Path, family: Family) -> None:
    traffic_manager = search(tmp_path, family)
    fail(traffic_manager)
    traffic_manager.judge_all()
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.plan.variant, rollout.status, rollout.queue) == ("int8", "running", ())


def test_candidates_of_a_search_are_compared_on_the_same_requests(tmp_path: Path, family: Family) -> None:
    """Each has a tally of its own. The next one begins with what it has shown."""
    traffic_manager = search(tmp_path, family)
    first = traffic_manager.state.rollouts["echo"]
    assert traffic_manager.state.traffic["echo"].traffic.shadows == {"int4": 0.2, "int8": 0.2}
    of_int8 = traffic_manager.state.pair(first.rivals["int8"])
    of_int8.evidence.quality.by_request[1.0, 1.0] = 40
    assert traffic_manager.rollout_of("echo")["rivals"]["int8"]["floor"]["n"] == 40
    fail(traffic_manager)
    traffic_manager.judge_all()
    second = traffic_manager.state.rollouts["echo"]
    assert (second.plan.variant, second.pair, second.follows, second.rivals) == ("int8", first.rivals["int8"], True, {})
    assert traffic_manager.state.pair(second.pair).compared == 40
    assert traffic_manager.state.traffic["echo"].traffic.shadows == {"int8": 0.2}
    assert traffic_manager.state.attempts == {"echo@int4": 1, "echo@int8": 1}


def test_a_candidate_that_is_proven_worse_leaves_the_search_and_the_step_goes_on(
    tmp_path: Path, family: Family
) -> None:
    traffic_manager = search(tmp_path, family)
    rollout = traffic_manager.state.rollouts["echo"]
    began = traffic_manager.held_since["echo"]
    traffic_manager.state.pair(rollout.rivals["int8"]).evidence.quality.by_request[0.0, 1.0] = 500
    traffic_manager.judge_all()
    left = traffic_manager.state.rollouts["echo"]
    assert (left.plan.variant, left.status, left.queue, left.rivals) == ("int4", "running", (), {})
    assert left.why == "int8 leaves the search: floor proven worse"
    assert traffic_manager.held_since["echo"] == began
    assert traffic_manager.state.traffic["echo"].traffic.shadows == {"int4": 0.2}


def test_another_search_begins_with_no_evidence_about_any_candidate(tmp_path: Path, family: Family) -> None:
    traffic_manager = search(tmp_path, family)
    rivals = traffic_manager.state.rollouts["echo"].rivals
    traffic_manager.state.pair(rivals["int8"]).evidence.quality.by_request[1.0, 1.0] = 40
    traffic_manager.steer("echo", "abort", "somebody")
    plan, parent, queue = traffic_manager.plan_search("echo", {"objective": "cheapest"})
    traffic_manager.begin("echo", plan, parent, "somebody", queue)
    assert traffic_manager.state.rollouts["echo"].rivals == rivals
    assert traffic_manager.state.pair(rivals["int8"]).compared == 0


def test_an_error_of_one_model_is_logged_and_stops_no_other(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    traffic_manager = begun(tmp_path, family)
    judged = []

    def verdict(model: str, rollout: object) -> None:
        judged.append(model)
        raise KeyError(model)

    traffic_manager.state.rollouts["digits"] = traffic_manager.state.rollouts["echo"]
    traffic_manager.state.traffic["digits"] = traffic_manager.state.traffic["echo"]
    monkeypatch.setattr(traffic_manager, "verdict", verdict)
    with caplog.at_level(logging.ERROR, "understudy.traffic"):
        traffic_manager.judge_all()
    assert judged == [model for model in ("echo", "digits") if model in traffic_manager.snapshot.stack.models]
    assert "echo could not be judged" in caplog.text


@pytest.mark.parametrize("weight", [1e308, float("inf"), -1.0])
def test_refuses_weights_whose_sum_would_be_infinite(tmp_path: Path, family: Family, weight: float) -> None:
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    with pytest.raises(InputError, match="weights"):
        traffic_manager.set_traffic("echo", {"weights": {"baseline": weight, "int8": weight}}, None, "somebody", "")


def test_an_entry_that_cannot_be_counted_is_removed(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    before = list(traffic_manager.journal.entries())
    with pytest.raises(KeyError):
        traffic_manager.write(("outcomes", {"ingress": "i", "number": 1, "rules": RULES, "models": {"echo": {}}}))
    assert list(traffic_manager.journal.entries()) == before
    assert traffic_manager.state.batches == {}


def test_a_batch_that_cannot_be_counted_is_left_out(
    tmp_path: Path, family: Family, caplog: pytest.LogCaptureFixture
) -> None:
    traffic_manager = begun(tmp_path, family)
    traffic_manager.count("i", {"number": 1, "rules": RULES, "models": {"echo": {}}})
    assert "batch 1 of ingress i cannot be counted" in caplog.text
    assert traffic_manager.state.batches == {"i": 1}
    assert TrafficManager(tmp_path / "state", snapshot(family)).state.batches == {"i": 1}


def test_a_build_that_replaces_one_in_a_rollout_gets_none_of_its_traffic(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family, steps=[90, 100])
    family.builds["int8"] = 2
    traffic_manager.replace(snapshot(family))
    assert outcome(traffic_manager) == (
        "aborted",
        "one of its builds or engines is no longer live",
        {"baseline": 1, "int8": 1},
    )
    assert traffic_manager.traffic_of("echo")["traffic"]["shadows"] == {}


def test_stored_traffic_of_other_variants_is_replaced(tmp_path: Path, family: Family) -> None:
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    current = traffic_manager.state.traffic["echo"]
    odd = current.traffic.model_dump(mode="json") | {"weights": {"baseline": 1.0}}
    declared = current.declared.model_dump(mode="json")
    traffic_manager.journal.append(("traffic", {"model": "echo", "version": 7, "traffic": odd, "declared": declared}))
    again = TrafficManager(tmp_path / "state", snapshot(family))
    assert again.traffic_of("echo")["traffic"]["weights"] == {"baseline": 1, "int8": 1}
    assert again.traffic_of("echo")["version"] > 7


def test_feedback_on_a_pinned_variant_is_no_evidence(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    digest = family.digest("int8")
    for number, reason in enumerate(("weight", "pinned")):
        traffic_manager.feedback({"id": issue("echo", "int8", digest, reason, str(number)), "score": 1.0}, None, None)
    assert traffic_manager.state.feedback_on(digest).n == 1


def test_costs_are_of_the_engine_in_use(tmp_path: Path, family: Family) -> None:
    add_cost(tmp_path, family, "int8", 2.0)
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    assert traffic_manager.cards.costs_of("echo", ["int8"]) == {"int8": 2.0}
    family.variants["int8"]["engine"] = {"kind": "scripted", "token_s": 0.5}
    traffic_manager.replace(snapshot(family))
    assert traffic_manager.cards.costs_of("echo", ["int8"]) == {"int8": None}


def verdict_of(decision: str, **more: Any) -> Verdict:
    return Verdict(decision, (), False, (), **more)  # type: ignore[arg-type]


def decide(traffic_manager: TrafficManager, monkeypatch: pytest.MonkeyPatch, *decisions: str) -> None:
    """Carry out these verdicts, one after another."""
    for decision in decisions:
        judged = verdict_of(decision, harm=("quality",) if decision == "roll back" else ())
        with monkeypatch.context() as patch:
            patch.setattr(traffic_manager, "verdict", lambda *_, judged=judged: judged)
            traffic_manager.judge_all()


def test_a_promotion_is_watched_and_harm_returns_the_traffic(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic_manager = begun(tmp_path, family, hold_s=0)
    decide(traffic_manager, monkeypatch, "promote", "promote")
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.status, rollout.watched) == ("promoted", True)
    assert traffic_manager.traffic_of("echo")["shares"] == pytest.approx({"baseline": 0.05, "int8": 0.95})
    decide(traffic_manager, monkeypatch, "roll back")
    assert outcome(traffic_manager)[0] == "rolled back"
    assert traffic_manager.traffic_of("echo")["shares"] == {"baseline": 0.5, "int8": 0.5}


def test_a_watch_that_saw_no_harm_gives_the_rest_of_the_traffic(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic_manager = begun(tmp_path, family, hold_s=0, watch_s=3600)
    decide(traffic_manager, monkeypatch, "promote", "promote", "inconclusive")
    assert traffic_manager.state.rollouts["echo"].watched
    traffic_manager.held_since["echo"] -= 3600
    decide(traffic_manager, monkeypatch, "inconclusive")
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.status, rollout.watched) == ("promoted", False)
    assert traffic_manager.traffic_of("echo")["traffic"]["shadows"] == {}
    assert traffic_manager.traffic_of("echo")["shares"] == {"baseline": 0.0, "int8": 1.0}


def test_another_rollout_ends_a_watch_and_moves_the_traffic_of_the_variant_that_serves(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would move the 5 % that the watch leaves with the parent."""
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": SCRIPTED}
    traffic_manager = begun(tmp_path, family, hold_s=0)
    decide(traffic_manager, monkeypatch, "promote", "promote")
    plan, parent = read_plan({"variant": "int4"}, traffic_manager.model("echo"), "echo")
    traffic_manager.begin("echo", plan, parent, "somebody")
    answer = traffic_manager.traffic_of("echo")
    assert traffic_manager.state.rollouts["echo"].source == "int8"
    assert answer["shares"] == {"baseline": 0.0, "int8": 1.0, "int4": 0.0}
    assert answer["traffic"]["shadows"] == {"int4": 0.2}


def test_what_is_made_from_a_compressed_variant_is_compared_with_the_root(tmp_path: Path, family: Family) -> None:
    """Else a loss of each step down a chain of parents would be allowed once more."""
    quantized = {"kind": "quantize", "scheme": "nf4"}
    family.variants["int8"] |= {"recipe": quantized}
    family.variants["int4"] = {"weight": 0, "parent": "int8", "engine": SCRIPTED, "recipe": quantized}
    for variant, difference in (("baseline", None), ("int8", -0.01), ("int4", None)):
        add_accuracy(tmp_path, family, variant, difference)
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    plan, parent = read_plan({"variant": "int4"}, traffic_manager.model("echo"), "echo")
    traffic_manager.begin("echo", plan, parent, "somebody")
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.parent, rollout.digests[0]) == ("baseline", family.digest("baseline"))
    again = TrafficManager(tmp_path / "state", snapshot(family))
    assert again.state.rollouts["echo"].status == "running"
    begun_before = replace(rollout, parent="int8", digests=(family.digest("int8"), rollout.digests[1]))
    again.state.rollouts["echo"] = begun_before
    again.replace(snapshot(family))
    assert outcome(again)[0] == "aborted"


def test_traffic_that_an_operator_sets_ends_a_watch(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic_manager = begun(tmp_path, family, hold_s=0)
    decide(traffic_manager, monkeypatch, "promote", "promote")
    traffic_manager.set_traffic("echo", {"weights": {"baseline": 1, "int8": 1}}, None, "somebody", "")
    assert outcome(traffic_manager)[:2] == ("promoted", "somebody changed the traffic")
    decide(traffic_manager, monkeypatch, "roll back")
    assert traffic_manager.traffic_of("echo")["shares"] == {"baseline": 0.5, "int8": 0.5}


def test_a_restarted_controller_goes_on_in_the_middle_of_a_step(
    tmp_path: Path, family: Family, monkeypatch: pytest.MonkeyPatch
) -> None:
    traffic_manager = begun(tmp_path, family, hold_s=0, steps=[10, 50, 100])
    decide(traffic_manager, monkeypatch, "promote")
    key = traffic_manager.state.rollouts["echo"].pair
    version = traffic_manager.traffic_of("echo")["version"]
    served = {family.digest("int8"): {"seconds": [[version, 1, 30, 0.5]], "minutes": []}}
    models = {"echo": {"assigned": {}, "served": served, "shadows": {key: NOTHING | {"pairs": [pair("r1")]}}}}
    traffic_manager.count("i", {"number": 1, "rules": RULES, "models": models})
    again = TrafficManager(tmp_path / "state", snapshot(family))
    assert again.state.pairs == traffic_manager.state.pairs
    assert again.rollout_of("echo") == traffic_manager.rollout_of("echo")
    arms = again.state.pair(key).evidence.arms
    assert arms is not None
    assert (arms.requests, again.state.pair(key).compared) == (30, 1)


def test_the_deadline_counts_from_the_start_and_not_from_a_restart(tmp_path: Path, family: Family) -> None:
    begun(tmp_path, family, deadline_s=0.001)
    again = TrafficManager(tmp_path / "state", snapshot(family))
    again.judge_all()
    status, why, weights = outcome(again)
    assert (status, weights) == ("undecided", {"baseline": 1, "int8": 1})
    assert why == "the deadline of 0.001 s passed without a verdict"


@pytest.mark.parametrize(("why", "told"), [("", "pause by ops"), ("lunch", "pause by ops: lunch")])
def test_an_operator_may_say_why(tmp_path: Path, family: Family, why: str, told: str) -> None:
    traffic_manager = begun(tmp_path, family)
    traffic_manager.steer("echo", "pause", "ops", why)
    assert outcome(traffic_manager)[:2] == ("paused", told)
    assert traffic_manager.journal.last(1)[0]["why"] == told


def test_each_rollout_of_a_name_has_half_the_alpha(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    shown = [traffic_manager.rollout_of("echo")["attempt"]]
    for build in (2, 3):
        traffic_manager.steer("echo", "abort", "somebody")
        family.builds["int8"] = build
        traffic_manager.replace(snapshot(family))
        plan, parent = read_plan({"variant": "int8", "continues": True}, traffic_manager.model("echo"), "echo")
        traffic_manager.begin("echo", plan, parent, "somebody")
        shown.append(traffic_manager.rollout_of("echo")["attempt"])
    alphas = (0.05, 0.025, 0.0125)
    assert shown == [{"number": n, "alpha_to_promote": alpha} for n, alpha in enumerate(alphas, 1)]


def test_an_engine_with_other_settings_ends_the_rollout_and_keeps_no_proof(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    before = traffic_manager.state.rollouts["echo"].pair
    family.variants["int8"]["engine"] = {"kind": "scripted", "token_s": 0.5}
    traffic_manager.replace(snapshot(family))
    assert outcome(traffic_manager)[:2] == ("aborted", "one of its builds or engines is no longer live")
    plan, parent = read_plan({"variant": "int8"}, traffic_manager.model("echo"), "echo")
    traffic_manager.begin("echo", plan, parent, "somebody")
    assert traffic_manager.state.rollouts["echo"].pair != before


def test_a_rollout_of_a_variant_that_is_gone_is_still_shown(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    del family.variants["int8"]
    traffic_manager.replace(snapshot(family))
    shown = traffic_manager.rollout_of("echo")
    assert (shown["rollout"]["status"], shown["card"]["difference"]) == ("aborted", None)


def add_accuracy(home: Path, family: Family, variant: str, difference: float | None) -> None:
    """A card with a cost, an accuracy of 0.8, and a difference from the parent that is known to 1 point."""
    accuracy = Accuracy(task="t", value=0.8, low=0.7, high=0.9, n=1000, contrast=0.5)
    differences = () if difference is None else (
        Difference(task="t", metric="accuracy", parent=family.digest("baseline"), value=difference,
                   low=difference - 0.01, high=difference + 0.01, n=1000),
    )  # fmt: skip
    add_cost(home, family, variant, {"baseline": 3.0, "int8": 2.0}.get(variant, 1.0))
    card = Catalog(home).model("echo").cards[family.digest(variant)][-1]
    changed = card.model_copy(update={"accuracy": (accuracy,), "differences": differences})
    Catalog(home).add_card("echo", changed)


def test_a_variant_that_its_card_proves_worse_needs_a_reason(tmp_path: Path, family: Family) -> None:
    for variant, difference in (("baseline", None), ("int8", -0.115)):
        add_accuracy(tmp_path, family, variant, difference)
    with pytest.raises(InputError, match="int8 is proven worse on its card"):
        begun(tmp_path, family)
    traffic_manager = begun(tmp_path, family, against_card="a trial")
    shown = traffic_manager.rollout_of("echo")
    assert shown["rollout"]["why"] == "begun by somebody, against the card: a trial"
    assert shown["card"]["difference"]["value"] == -0.115
    assert traffic_manager.context_of("echo", traffic_manager.state.rollouts["echo"]).contrast_on_card == 0.5


def test_a_search_leaves_out_a_candidate_that_its_card_proves_worse(tmp_path: Path, family: Family) -> None:
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": SCRIPTED}
    for variant, difference in (("baseline", None), ("int8", 0.0), ("int4", -0.3)):
        add_accuracy(tmp_path, family, variant, difference)
    traffic_manager = TrafficManager(tmp_path / "state", snapshot(family))
    plan, _, queue = traffic_manager.plan_search("echo", {"objective": "cheapest"})
    assert (plan.variant, queue, plan.gate.alpha) == ("int8", (), 0.05)
    add_accuracy(tmp_path, family, "int8", -0.3)
    with pytest.raises(InputError, match=r"int4 is proven worse on its card.*int8 is proven worse on its card"):
        traffic_manager.plan_search("echo", {"objective": "cheapest"})


def test_a_search_goes_on_after_a_candidate_without_a_verdict(tmp_path: Path, family: Family) -> None:
    traffic_manager = search(tmp_path, family)
    rollout = traffic_manager.state.rollouts["echo"]
    traffic_manager.move("echo", replace(rollout, status="undecided", why="futile"), "evidence", None)
    traffic_manager.judge_all()
    rollout = traffic_manager.state.rollouts["echo"]
    assert (rollout.plan.variant, rollout.status, rollout.queue) == ("int8", "running", ())


def test_alpha_of_harm_is_divided_among_the_steps_and_the_watch(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family, steps=[10, 50, 100])
    rollout = traffic_manager.state.rollouts["echo"]
    assert traffic_manager.context_of("echo", rollout).phases == 4
    unwatched = replace(rollout, plan=rollout.plan.model_copy(update={"watch_s": 0.0}))
    assert traffic_manager.context_of("echo", unwatched).phases == 3


def test_a_rollout_is_shown_as_json(tmp_path: Path, family: Family) -> None:
    traffic_manager = begun(tmp_path, family)
    pairs = [pair(f"r{number}", segments={"language": "de"}) for number in range(50)]
    key = traffic_manager.state.rollouts["echo"].pair
    traffic_manager.state.pair(key).count_shadowed(NOTHING | {"pairs": pairs}, None)
    fail(traffic_manager)
    shown = traffic_manager.rollout_of("echo")
    assert json.loads(json.dumps(shown, allow_nan=False)) == json.loads(json.dumps(shown))
    entry = list(traffic_manager.journal.entries())[-1]
    assert entry["verdict"]["harm"] == ["quality"]


SEEDS, CLEAN, SHADOW_S, SECONDS = 5, 10_000, 600, 300


def requests_until_returned(traffic_manager: TrafficManager, seed: int) -> int:
    """Clean shadows first, then a request a second of both arms, of which the variant fails a tenth."""
    rollout, chance = traffic_manager.state.rollouts["echo"], np.random.default_rng(seed)
    clean = NOTHING | {"chosen": CLEAN, "pairs": [pair(f"r{number}") for number in range(CLEAN)]}
    parent, variant = rollout.digests
    version = traffic_manager.state.traffic["echo"].version
    before = {"requests": 0, "failed": 0, "left": 0, "minutes": []}
    seconds = [[version, number, 17, 0.0] for number in range(SHADOW_S)]
    batch: dict[str, Any] = {
        "assigned": {},
        "served": {parent: {**before, "seconds": seconds}},
        "shadows": {rollout.pair: clean},
    }
    traffic_manager.count("i", {"number": 1, "rules": RULES, "models": {"echo": batch}})
    traffic_manager.judge_all()
    assert traffic_manager.state.rollouts["echo"].doing == "50 %"
    version = traffic_manager.state.traffic["echo"].version
    for number in range(SECONDS):
        failed = float(chance.random() < 0.1)
        served = {
            digest: {**before, "seconds": [[version, SHADOW_S + number, 1, share]]}
            for digest, share in ((parent, 0.0), (variant, failed))
        }
        batch = {"assigned": {}, "served": served, "shadows": {}}
        traffic_manager.count("i", {"number": number + 2, "rules": RULES, "models": {"echo": batch}})
        if failed:  # harm is seen after a failure alone
            traffic_manager.judge_all()
            if traffic_manager.state.rollouts["echo"].status == "rolled back":
                return number + 1
    return SECONDS


def test_a_variant_whose_clients_fail_at_a_tenth_is_returned_although_ten_thousand_shadows_were_clean(
    tmp_path: Path, family: Family
) -> None:
    """Within 120 of their requests in the median. All their seconds are in the journal."""
    family.variants["int8"]["weight"] = 0
    needed = []
    for seed in range(SEEDS):
        traffic_manager = TrafficManager(tmp_path / f"state {seed}", snapshot(family))
        document = {"variant": "int8", "steps": ["shadow", 50, 100], "hold_s": 0}
        rollout_plan, parent = read_plan(document, traffic_manager.model("echo"), "echo")
        traffic_manager.begin("echo", rollout_plan, parent, "somebody")
        needed.append(requests_until_returned(traffic_manager, seed))
        assert traffic_manager.traffic_of("echo")["shares"] == {"baseline": 1.0, "int8": 0.0}
    assert sorted(needed)[SEEDS // 2] <= 120, needed
