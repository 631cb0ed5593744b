from dataclasses import replace

import pytest
from pydantic import ValidationError

from serve.config.traffic import Traffic
from serve.control.rollout import Rollout, RolloutPlan, next_of, unknowable
from variants.evidence.gate import Finding, Gate, Verdict

BEFORE = Traffic(weights={"baseline": 80, "int8": 10, "nf4": 10}, shadows={"nf4": 0.1})
START = Rollout(RolloutPlan(variant="int8", shadow=0.5), "baseline", ("p" * 64, "v" * 64), BEFORE)
BROKEN = Finding("quality", 100, -0.3, -0.4, -0.2, -0.02, "broken")


def verdict(decision: str) -> Verdict:
    findings = (BROKEN,) if decision == "roll back" else ()
    return Verdict(decision, findings, False, ())  # type: ignore[arg-type]


def test_steps_move_only_the_traffic_of_the_two_variants() -> None:
    weights = []
    rollout = START
    while rollout.status == "running":
        weights.append(rollout.traffic().weights)
        rollout = next_of(rollout, verdict("promote"), 60)
    assert weights == [
        {"baseline": 80, "int8": 10, "nf4": 10},
        {"baseline": 81, "int8": 9, "nf4": 10},
        {"baseline": 45, "int8": 45, "nf4": 10},
        {"baseline": 0, "int8": 90, "nf4": 10},
    ]
    assert rollout.status == "promoted"
    assert rollout.traffic().weights == weights[-1]
    assert rollout.traffic().shadows == {"nf4": 0.1}
    assert START.traffic().shadows == {"nf4": 0.1, "int8": 0.5}


def test_harm_restores_the_earlier_traffic_at_any_step() -> None:
    for step in range(4):
        rollout = next_of(replace(START, step=step), verdict("roll back"), 0.0)
        assert rollout.status == "rolled back"
        assert rollout.traffic() == BEFORE
        assert "quality" in rollout.why


@pytest.mark.parametrize(
    ("status", "decision", "held"),
    [
        ("running", "promote", 9.9), ("running", "inconclusive", 1e9), ("paused", "promote", 1e9),
        ("paused", "roll back", 1e9), ("promoted", "roll back", 1e9), ("aborted", "promote", 1e9),
    ],
)  # fmt: skip
def test_otherwise_nothing_moves(status: str, decision: str, held: float) -> None:
    rollout = replace(START, status=status)  # type: ignore[arg-type]
    assert next_of(rollout, verdict(decision), held) is rollout


def test_a_rollout_is_equal_after_json() -> None:
    rollout = replace(START, step=2, status="paused", why="because")
    assert Rollout.from_json(rollout.to_json()) == rollout


@pytest.mark.parametrize("steps", [(), (50, 10), (10, 10), (10, "shadow"), (0,), (101,), ("shadw",)])
def test_refuses_steps_that_do_not_rise(steps: tuple[object, ...]) -> None:
    with pytest.raises(ValidationError):
        RolloutPlan(variant="int8", steps=steps)


def test_feedback_alone_is_no_evidence_in_the_shadow_step() -> None:
    gate = Gate(quality=None, feedback=0.8)
    with pytest.raises(ValidationError, match="`shadow` has no feedback"):
        RolloutPlan(variant="lora", gate=gate)
    plan = RolloutPlan(variant="lora", steps=(10.0, 100.0), gate=gate)
    assert unknowable(replace(START, plan=plan)) == ()
    assert "feedback" in unknowable(START)
