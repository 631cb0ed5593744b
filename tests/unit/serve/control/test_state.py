"""How outcomes are counted: each once, for the right variant, and in the right rollout."""

import json
from dataclasses import replace
from typing import Any

import pytest

from serve.config.traffic import Traffic
from serve.control.checkpoint import STATE, plain, with_keys
from serve.control.contract import RULES
from serve.control.pair_evidence import PairEvidence
from serve.control.rollout import Rollout, RolloutPlan
from serve.control.state import ControlState
from tests.unit.serve.control.test_pair_evidence import NOTHING, pair, second
from variants.evidence.gate import Gate, LatencyObjective

PARENT, VARIANT = "a" * 64, "b" * 64
BEFORE = Traffic(weights={"baseline": 50, "int8": 50})


def rollout_of(gate: Gate | None = None, **changes: Any) -> Rollout:
    plan = RolloutPlan(variant="int8", gate=gate or Gate(), continues=changes.pop("continues", False))
    return replace(Rollout(plan, "baseline", (PARENT, VARIANT), BEFORE, engines="e"), **changes)


def apply_rollout(state: ControlState, rollout: Rollout, version: int) -> PairEvidence:
    document = BEFORE.model_dump(mode="json")
    state.apply(
        {"kind": "rollout", "model": "m", "version": version, "traffic": document, "declared": document,
         "rollout": rollout.to_json()}
    )  # fmt: skip
    return state.pair(rollout.pair)


def with_rollout(gate: Gate | None = None) -> ControlState:
    """A state with an open rollout that began with version 1."""
    state = ControlState()
    apply_rollout(state, rollout_of(gate, began=1), 1)
    return state


PAIR = rollout_of().pair


def add_batch(state: ControlState, served: dict[str, Any] | None = None, **shadowed: Any) -> PairEvidence:
    """Add one batch of an ingress. `served` is by digest."""
    model = {"assigned": {}, "served": served or {}, "shadows": {PAIR: NOTHING | shadowed} if shadowed else {}}
    number = state.batches.get("i", 0) + 1
    state.apply({"kind": "outcomes", "ingress": "i", "number": number, "rules": RULES, "models": {"m": model}})
    return state.pair(PAIR)


def test_an_answer_to_a_client_is_not_counted_again_with_its_pair() -> None:
    state = with_rollout()
    add_batch(state, {VARIANT: {"seconds": [second(1, failed=0.5)], "minutes": []}})
    evidence = add_batch(state, chosen=2, pairs=[pair("r1", asked=False), pair("r2", asked=False)]).evidence
    errors = evidence.tallies["errors"]
    assert (errors.n, errors.mean, evidence.quality.n) == (1, 0.5, 2)


def test_a_batch_counts_once() -> None:
    state = with_rollout()
    kept = add_batch(state, chosen=1, pairs=[pair("r1")])
    model = {"assigned": {}, "served": {}, "shadows": {PAIR: NOTHING | {"chosen": 1, "pairs": [pair("r2")]}}}
    state.apply({"kind": "outcomes", "ingress": "i", "number": 1, "rules": RULES, "models": {"m": model}})
    assert (kept.evidence.chosen, kept.compared) == (1, 1)


def test_latency_counts_only_for_the_objective_of_its_measurement() -> None:
    state = with_rollout(Gate(latency=LatencyObjective(objective_s=5.0, share=0.9)))
    minutes = [[1, 5.0, block, 10, 10, 0.1, 0.2] for block in range(300)]
    kept = add_batch(state, {VARIANT: {"seconds": [], "minutes": minutes}})
    assert (kept.latency_within(5.0).n, kept.latency_within(0.05).n) == (300, 0)


@pytest.mark.parametrize("rules", [{}, {"rules": RULES - 1}])
def test_batches_made_by_other_rules_are_not_counted(rules: dict[str, int]) -> None:
    state = with_rollout()
    old = {"assigned": {}, "served": {}, "shadows": {PAIR: {"chosen": 1, "failed": 1, "dropped": [], "pairs": []}}}
    state.apply({"kind": "outcomes", "ingress": "i", "number": 1, "models": {"m": old}, **rules})
    assert state.pair(PAIR).evidence.chosen == 0
    assert state.batches == {"i": 1}


def test_requests_that_the_variant_could_not_answer_are_counted() -> None:
    state = with_rollout()
    for number, unable in enumerate(({VARIANT: 3}, {PARENT: 9}, {}), start=1):
        observed = {"assigned": {}, "served": {}, "shadows": {}, "routed": {"requests": 10, "unable": unable}}
        models = {"m": observed}
        state.apply({"kind": "outcomes", "ingress": "i", "number": number, "rules": RULES, "models": models})
    assert (state.pair(PAIR).routed, state.pair(PAIR).not_served) == (30, 3)
    add_batch(state)  # of an ingress that has nothing to report
    assert state.pair(PAIR).routed == 30


def add_assigned(state: ControlState, assigned: dict[str, Any]) -> PairEvidence:
    """Add one batch of an ingress about assignments alone."""
    model = {"assigned": {"1": assigned}, "served": {}, "shadows": {}}
    number = state.batches.get("i", 0) + 1
    state.apply({"kind": "outcomes", "ingress": "i", "number": number, "rules": RULES, "models": {"m": model}})
    return state.pair(PAIR)


def test_a_broken_sample_ratio_names_the_client_the_reason_and_the_hour() -> None:
    """Also after a restart from a checkpoint. A client that was counted before counts for nothing."""
    state = with_rollout()
    clients = {f"c{number}": "int8" if number % 2 else "baseline" for number in range(60)}
    named = {client: ["calm", "*", "sticky", 5] for client in clients}
    skewed: dict[str, Any] = {"anonymous": {"int8": 90}, "sources": [["team", "c2", "weight", 7, {"int8": 90}]]}
    add_assigned(state, {"anonymous": {}, "clients": clients, "sources": [], "named": named})
    add_assigned(state, {**skewed, "clients": {"c1": "int8"}, "named": {"c1": ["calm", "*", "sticky", 7]}})
    kept = add_assigned(state, {**skewed, "clients": {}, "named": {}})
    told = kept.to_json()["assignments"]
    due = {"baseline": 90.0, "int8": 90.0}
    assert told["broken"]
    assert told["departs"]["client"] == {"key": "team", "name": "c2", "seen": {"int8": 180}, "due": due}
    assert told["departs"]["reason"] == {"reason": "weight", "seen": {"int8": 180}, "due": due}
    assert told["departs"]["hour"] == {"hour": "1970-01-01 07:00 UTC", "seen": {"int8": 180}, "due": due}
    assert kept.evidence.assignments.departures.clients["calm", "*"].seen == {"baseline": 30, "int8": 30}
    document = json.loads(json.dumps(plain(STATE.dump_python(state))))
    assert STATE.validate_python(with_keys(document)).pair(PAIR).to_json()["assignments"] == told


def test_an_older_ingress_does_not_say_where_assignments_came_from() -> None:
    state = with_rollout()
    for _ in range(3):
        kept = add_assigned(state, {"anonymous": {"int8": 90}, "clients": {}})
    assert kept.to_json()["assignments"]["broken"]
    assert kept.to_json()["assignments"]["departs"] is None


def test_each_rollout_begins_with_no_evidence() -> None:
    """What an outage did is not held for ever: a rollout that was rolled back may begin again."""
    state = with_rollout()
    add_batch(state, chosen=1, pairs=[pair("r1", values=(0.0, 1.0))])
    apply_rollout(state, rollout_of(began=1, status="rolled back"), 2)
    kept = apply_rollout(state, rollout_of(began=3), 3)
    assert (kept.compared, kept.since, state.attempts) == (0, 3, {"m@int8": 2})


def test_a_plan_that_continues_keeps_the_evidence_and_is_no_other_attempt() -> None:
    state = with_rollout()
    add_batch(state, chosen=1, pairs=[pair("r1")])
    kept = apply_rollout(state, rollout_of(began=2, continues=True), 2)
    assert (kept.compared, kept.since, state.attempts) == (1, 2, {"m@int8": 1})


def test_a_plan_that_continues_with_another_build_is_another_attempt() -> None:
    """Else repeated builds would each have the whole alpha."""
    state = with_rollout()
    kept = apply_rollout(state, rollout_of(began=2, continues=True, digests=(PARENT, "c" * 64)), 2)
    assert (kept.compared, state.attempts) == (0, {"m@int8": 2})


def test_a_plan_that_continues_what_was_only_watched_is_the_first_attempt() -> None:
    state = ControlState()
    add_batch(state, chosen=1, pairs=[pair("r1")])
    kept = apply_rollout(state, rollout_of(began=2, continues=True), 2)
    assert (kept.compared, state.attempts) == (1, {"m@int8": 1})


def test_another_engine_begins_anew() -> None:
    state = with_rollout()
    add_batch(state, chosen=1, pairs=[pair("r1")])
    assert apply_rollout(state, rollout_of(began=2, engines="f"), 2).compared == 0


@pytest.mark.parametrize(
    ("changes", "fresh"),
    [
        ({"step": 1}, True), ({"status": "promoted", "watched": True}, True), ({"status": "paused"}, False),
        ({"status": "aborted"}, False), ({}, False),
    ],
)  # fmt: skip
def test_a_step_has_clients_and_detectors_of_its_own(changes: dict[str, Any], fresh: bool) -> None:
    state = with_rollout()
    add_batch(state, {VARIANT: {"seconds": [second(1)], "minutes": []}}, chosen=1, pairs=[pair("r1")])
    kept = apply_rollout(state, rollout_of(began=1, **changes), 2)
    assert kept.evidence.arms is not None
    requests, outcomes = kept.evidence.arms.requests, kept.evidence.quality.harm.n
    assert (requests, outcomes, kept.since) == ((0, 0, 2) if fresh else (10, 1, 1))
    assert kept.compared == 1


def test_a_resumed_rollout_keeps_the_evidence_of_its_step() -> None:
    state = with_rollout()
    add_batch(state, {VARIANT: {"seconds": [second(1)], "minutes": []}})
    apply_rollout(state, rollout_of(began=1, status="paused"), 2)
    kept = apply_rollout(state, rollout_of(began=1), 3)
    assert kept.evidence.arms is not None
    assert (kept.evidence.arms.requests, kept.since) == (10, 1)


def test_outcomes_count_while_a_promotion_is_watched_and_not_afterwards() -> None:
    state = with_rollout()
    for watched, n in ((True, 1), (False, 1)):
        apply_rollout(state, rollout_of(began=1, status="promoted", watched=watched), 2)
        kept = add_batch(state, {VARIANT: {"seconds": [second(2)], "minutes": []}})
        assert kept.evidence.tallies["errors"].n == n


def test_a_restarted_controller_has_the_same_state_in_the_middle_of_a_step() -> None:
    entries: list[dict[str, Any]] = []

    class Recording(ControlState):
        def apply(self, entry: dict[str, Any]) -> None:
            entries.append(entry)
            super().apply(entry)

    state = Recording()
    apply_rollout(state, rollout_of(began=1), 1)
    add_batch(state, {VARIANT: {"seconds": [second(1)], "minutes": []}}, chosen=2, pairs=[pair("r1"), pair("r2")])
    apply_rollout(state, rollout_of(began=1, step=1), 2)
    add_batch(state, {VARIANT: {"seconds": [second(2, failed=0.5)], "minutes": []}}, chosen=1, pairs=[pair("r3")])
    again = ControlState.read(entries)
    assert again.pairs == state.pairs
    assert (again.attempts, again.rollouts) == (state.attempts, state.rollouts)
