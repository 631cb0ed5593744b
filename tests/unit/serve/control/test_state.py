"""How outcomes are counted: each once, and for the right variant."""

from typing import Any

import pytest

from serve.config.traffic import Traffic
from serve.control.contract import RULES
from serve.control.rollout import Rollout, RolloutPlan
from serve.control.state import ControlState
from variants.evidence.gate import Evidence, Gate, LatencyObjective, judge

PARENT, VARIANT = "a" * 64, "b" * 64
PAIR = f"{PARENT}:{VARIANT}"
NOTHING: dict[str, Any] = {"chosen": 0, "dropped": [], "unjudged": [], "pairs": []}


def with_rollout(gate: Gate | None = None) -> ControlState:
    """A state with an open rollout."""
    traffic = Traffic(weights={"baseline": 50, "int8": 50})
    rollout = Rollout(RolloutPlan(variant="int8", gate=gate or Gate()), "baseline", (PARENT, VARIANT), traffic)
    state = ControlState()
    document = traffic.model_dump(mode="json")
    state.apply(
        {"kind": "rollout", "model": "m", "version": 1, "traffic": document, "declared": document,
         "rollout": rollout.to_json()}
    )  # fmt: skip
    return state


def add_batch(state: ControlState, *, served: dict[str, Any] | None = None, **shadowed: Any) -> Evidence:
    """Add one batch of an ingress."""
    model = {
        "assigned": {},
        "served": {VARIANT: served} if served else {},
        "shadows": {PAIR: NOTHING | shadowed} if shadowed else {},
    }
    number = state.batches.get("i", 0) + 1
    state.apply({"kind": "outcomes", "ingress": "i", "number": number, "rules": RULES, "models": {"m": model}})
    return state.pair(PAIR).evidence


def pair(request: str, **more: Any) -> dict[str, Any]:
    usual = {"metric": "quality", "values": (1.0, 1.0), "asked": True, "failed": False, "length": 10}
    return {"request": request, **usual, **more}


def test_an_answer_to_a_client_is_not_counted_again_with_its_pair() -> None:
    state = with_rollout()
    add_batch(state, served={"requests": 3, "failed": 1, "seconds": []})
    evidence = add_batch(state, chosen=2, pairs=[pair("r1", asked=False), pair("r2", asked=False)])
    errors, quality = evidence.tallies["errors"], evidence.tallies["quality"]
    assert (errors.n, errors.mean, quality.n) == (3, pytest.approx(1 / 3), 2)


def test_a_failure_counts_once_a_request_as_a_success_does() -> None:
    state = with_rollout()
    for _ in range(30):
        evidence = add_batch(state, chosen=2, pairs=[pair("good"), pair("bad", values=(0.0, 1.0), failed=True)])
    assert (evidence.tallies["errors"].n, evidence.tallies["errors"].mean) == (2, 0.5)
    assert (evidence.tallies["quality"].n, evidence.tallies["quality"].mean) == (2, -0.5)


def test_a_variant_that_fails_most_replays_is_rolled_back() -> None:
    state = with_rollout()
    failed = [pair(f"f{number}", values=(0.0, 1.0), failed=True) for number in range(60)]
    evidence = add_batch(state, chosen=100, pairs=failed + [pair(f"g{number}") for number in range(40)])
    assert judge(Gate(quality=0.05), evidence).decision == "roll back"


def test_pairs_without_a_score_prevent_a_verdict() -> None:
    state = with_rollout()
    good = [pair(f"g{number}") for number in range(5000)]
    assert judge(Gate(quality=0.05), add_batch(state, chosen=5000, pairs=good)).decision == "promote"
    unlabelled = [pair(f"f{number}", metric=None, values=None, failed=True) for number in range(300)]
    evidence = add_batch(state, chosen=700, unjudged=[10] * 400, pairs=unlabelled)
    assert (evidence.unjudged, evidence.tallies["errors"].n) == (700, 5300)
    verdict = judge(Gate(quality=0.05), evidence)
    assert verdict.decision == "inconclusive"
    assert "700 could not be compared" in verdict.missing[0]


def test_latency_counts_only_for_the_objective_of_its_measurement() -> None:
    gate = Gate(latency=LatencyObjective(objective_s=5.0, share=0.9))
    state = with_rollout(gate)
    add_batch(state, served={"requests": 300, "failed": 0, "seconds": [(5.0, 10, 10)] * 300})
    kept = state.pair(PAIR)
    assert (kept.latency_within(5.0).n, kept.latency_within(0.05).n) == (300, 0)


def test_batches_made_by_other_rules_are_not_counted() -> None:
    state = with_rollout()
    old = {"assigned": {}, "served": {}, "shadows": {PAIR: {"chosen": 1, "failed": 1, "dropped": [], "pairs": []}}}
    state.apply({"kind": "outcomes", "ingress": "i", "number": 1, "models": {"m": old}})
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
