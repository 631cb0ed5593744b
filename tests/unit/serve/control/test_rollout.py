from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from serve.config.traffic import Traffic
from serve.control.rollout import Rollout, RolloutPlan, Search, next_of, source_of, unknowable
from variants.evidence.gate import Finding, Gate, Verdict

BEFORE = Traffic(weights={"baseline": 80, "int8": 10, "nf4": 10}, shadows={"nf4": 0.1})
START = Rollout(
    RolloutPlan(variant="int8", shadow=0.5, hold_s=10.0, budget=1000, deadline_s=500.0),
    "baseline", ("p" * 64, "v" * 64), BEFORE, began=3, began_at=1000.0,
)  # fmt: skip
BROKEN = Finding("quality", 100, -0.3, -0.4, -0.2, -0.02, "broken")
OPEN = Finding("quality", 100, -0.01, -0.03, 0.01, -0.02, "open", to_go=100)


def verdict(decision: str, finding: Finding = OPEN, waits: bool = False) -> Verdict:
    if decision == "roll back":
        return Verdict("roll back", (BROKEN,), False, (), harm=("quality",))
    if decision == "promote":
        return Verdict("promote", (), False, ())
    missing = ("its own clients",) if waits else ("quality", "its own clients")
    return Verdict("inconclusive", (finding,), False, missing, waits=("its own clients",))


def following(
    rollout: Rollout, judged: Verdict, held_s: float = 60.0, compared: int = 0, at: float = 1100.0
) -> Rollout:
    return next_of(rollout, judged, held_s, compared, at)


def test_steps_move_only_the_traffic_of_the_two_variants() -> None:
    weights = []
    rollout = START
    while rollout.status == "running":
        weights.append(rollout.traffic().weights)
        rollout = following(rollout, verdict("promote"))
    assert weights == [
        {"baseline": 80, "int8": 10, "nf4": 10},
        {"baseline": 81, "int8": 9, "nf4": 10},
        {"baseline": 45, "int8": 45, "nf4": 10},
        {"baseline": 4.5, "int8": 85.5, "nf4": 10},
    ]
    assert (rollout.status, rollout.watched, rollout.counts) == ("promoted", True, True)
    assert rollout.traffic().weights == weights[-1]
    assert START.traffic().shadows == {"nf4": 0.1, "int8": 0.5}


def promoted() -> Rollout:
    return following(replace(START, step=3), verdict("promote"))


def test_a_part_stays_with_the_parent_until_the_watch_is_over() -> None:
    rollout = promoted()
    assert rollout.traffic().shadows == {"nf4": 0.1, "int8": 0.5}
    for judged in (verdict("promote"), verdict("inconclusive")):
        assert following(rollout, judged, 3599.0, compared=10**9, at=1e9) is rollout
        over = following(rollout, judged, 3600.0)
        assert (over.status, over.watched, over.counts) == ("promoted", False, False)
        assert over.traffic().weights == {"baseline": 0, "int8": 90, "nf4": 10}
        assert over.traffic().shadows == {"nf4": 0.1}
        assert following(over, verdict("roll back"), 1e9) is over


def test_harm_during_the_watch_returns_the_traffic() -> None:
    rollout = following(promoted(), verdict("roll back"), 0.0)
    assert (rollout.status, rollout.watched, rollout.counts) == ("rolled back", False, False)
    assert rollout.traffic() == BEFORE


def test_without_a_watch_a_promotion_is_the_end() -> None:
    plan = RolloutPlan(variant="int8", watch_s=0.0, hold_s=10.0)
    rollout = following(replace(START, step=3, plan=plan), verdict("promote"))
    assert (rollout.status, rollout.watched) == ("promoted", False)
    assert rollout.traffic().weights == {"baseline": 0, "int8": 90, "nf4": 10}


def test_a_last_step_below_the_holdback_is_kept() -> None:
    plan = RolloutPlan(variant="int8", steps=("shadow", 50.0), holdback=0.1)
    rollout = following(replace(START, step=1, plan=plan), verdict("promote"))
    assert rollout.traffic().weights == {"baseline": 45, "int8": 45, "nf4": 10}


def test_harm_restores_the_earlier_traffic_at_any_step() -> None:
    for step in range(4):
        rollout = following(replace(START, step=step), verdict("roll back"), 0.0)
        assert rollout.status == "rolled back"
        assert rollout.traffic() == BEFORE
        assert rollout.why == "quality proven worse than the gate allows"


@pytest.mark.parametrize(
    ("status", "decision", "held"),
    [
        ("running", "promote", 9.9), ("running", "inconclusive", 1e9), ("paused", "promote", 1e9),
        ("paused", "roll back", 1e9), ("promoted", "roll back", 1e9), ("aborted", "promote", 1e9),
        ("undecided", "promote", 1e9),
    ],
)  # fmt: skip
def test_otherwise_nothing_moves(status: str, decision: str, held: float) -> None:
    rollout = replace(START, status=status)  # type: ignore[arg-type]
    assert following(rollout, verdict(decision), held) is rollout


ENDS: list[tuple[dict[str, Any], Finding, str]] = [
    ({"at": 1500.0}, OPEN, "the deadline of 500 s passed"),
    ({"compared": 1000}, OPEN, "the budget of 1000 pairs is used up"),
    ({"compared": 100}, replace(OPEN, to_go=901), "futile: after 100 pairs"),
    ({"compared": 100}, replace(OPEN, to_go=None), "futile: after 100 pairs"),
]


@pytest.mark.parametrize(("when", "finding", "why"), ENDS)
def test_a_rollout_that_proves_nothing_ends_and_says_why(when: dict[str, Any], finding: Finding, why: str) -> None:
    rollout = following(replace(START, step=2), verdict("inconclusive", finding), **when)
    assert rollout.status == "undecided"
    assert rollout.why.startswith(why)
    assert rollout.traffic() == BEFORE
    assert not rollout.open


GOES_ON: list[tuple[dict[str, Any], Finding]] = [
    ({"at": 1499.0}, OPEN),
    ({"compared": 999}, replace(OPEN, to_go=1)),
    ({"compared": 99}, replace(OPEN, to_go=None)),
    ({"compared": 100}, replace(OPEN, to_go=900)),
    ({"compared": 100}, replace(OPEN, metric="latency", to_go=None)),
    ({"compared": 100}, replace(OPEN, state="holds", to_go=None)),
]


@pytest.mark.parametrize(("when", "finding"), GOES_ON)
def test_before_that_it_goes_on(when: dict[str, Any], finding: Finding) -> None:
    assert following(START, verdict("inconclusive", finding), **when) is START


def test_the_budget_ends_no_rollout_that_only_waits_for_its_own_clients() -> None:
    holds = replace(OPEN, state="holds", to_go=None)
    rollout = replace(START, step=1)
    assert following(rollout, verdict("inconclusive", holds, waits=True), compared=10**6) is rollout
    assert following(rollout, verdict("inconclusive", holds), compared=10**6).status == "undecided"


def test_a_rollout_is_equal_after_json() -> None:
    rollout = replace(START, step=2, status="paused", why="because", engines="e", watched=True)
    assert Rollout.from_json(rollout.to_json()) == rollout


def test_a_rollout_of_an_older_journal_is_read_and_has_no_deadline() -> None:
    document = START.to_json()
    for name in ("engines", "began", "began_at", "watched"):
        del document[name]
    for name in ("holdback", "watch_s", "deadline_s", "budget", "continues", "against_card"):
        del document["plan"][name]
    for name in ("guard", "segment", "client_share"):
        del document["plan"]["gate"][name]
    rollout = Rollout.from_json(document)
    assert rollout.pair == ":".join(START.digests)
    assert following(rollout, verdict("inconclusive"), at=1.8e9) is rollout


def test_evidence_is_named_by_artifacts_and_engines() -> None:
    assert START.pair == f"{'p' * 64}:{'v' * 64}"
    assert replace(START, engines="abc").pair == f"{START.pair}:abc"


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


def test_a_search_divides_alpha_and_goes_through_every_step() -> None:
    plan = Search(objective="cheapest", alpha=0.06).plan("int8", 3)
    assert plan.gate.alpha == pytest.approx(0.02)
    assert plan.gate.guard is not None
    assert plan.steps == ("shadow", 10.0, 50.0, 100.0)


def test_a_comparison_of_the_parent_with_itself_never_moves_traffic() -> None:
    plan = RolloutPlan(variant="int8", steps=("shadow",), aa=True, shadow=0.5, hold_s=10.0)
    rollout = replace(START, plan=plan, digests=("p" * 64, "p" * 64))
    assert rollout.traffic() == BEFORE.model_copy(update={"shadows": {"nf4": 0.1, "int8": 0.5}})
    for judged, status in ((verdict("promote"), "promoted"), (verdict("roll back"), "rolled back")):
        ended = following(rollout, judged)
        assert (ended.status, ended.watched, ended.traffic()) == (status, False, BEFORE)
    assert plan.compared("baseline") == "baseline"
    assert START.plan.compared("baseline") == "int8"


def test_a_comparison_of_the_parent_with_itself_has_no_other_step() -> None:
    with pytest.raises(ValidationError, match="its only step"):
        RolloutPlan(variant="int8", aa=True)


def test_a_plan_without_newer_fields_is_written_as_before() -> None:
    assert "aa" not in START.plan.model_dump()
    assert "preference" not in START.plan.model_dump()["gate"]


@pytest.mark.parametrize(
    ("weights", "line", "source"),
    [
        ((90, 10, 0), ("baseline", "int8"), "baseline"),
        ((0, 0, 100), ("baseline", "int8"), "int4"),  # another variant has taken over
        ((0, 100, 0), ("baseline", "int8"), "baseline"),  # it has all of the traffic already
        ((10, 90, 0), ("baseline", "int8", "int4"), "int8"),  # what it was made from serves
        ((100, 0, 0), ("baseline", "int8", "int4"), "baseline"),
    ],
)
def test_the_traffic_of_the_nearest_variant_that_serves_is_moved(
    weights: tuple[float, ...], line: tuple[str, ...], source: str
) -> None:
    assert source_of(dict(zip(("baseline", "int8", "int4"), weights, strict=True)), line) == source
