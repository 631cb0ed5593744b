from typing import Any

import pytest
from pydantic import ValidationError

from variants.evidence.betting import Tally
from variants.evidence.gate import Evidence, Gate, LatencyObjective, judge

GATE = Gate(quality=0.02, latency=LatencyObjective(objective_s=0.5, share=0.9), errors=0.02)
EQUAL = {-1.0: 100, 0.0: 3800, 1.0: 100}
WORSE = {-1.0: 500, 0.0: 3400, 1.0: 100}
IN_TIME, LATE = {1.0: 300}, {0.5: 300}
SOUND, FAILING = {0.0: 2000}, {0.0: 1800, 1.0: 200}


def evidence(**counts: dict[float, int]) -> Evidence:
    seen = Evidence()
    for metric, values in counts.items():
        for value, times in values.items():
            seen.tallies[metric].add(value, times)
    return seen


def test_promotes_what_holds_everything() -> None:
    verdict = judge(GATE, evidence(quality=EQUAL, latency=IN_TIME, errors=SOUND))
    assert verdict.decision == "promote"
    assert verdict.missing == ()
    assert not verdict.different
    assert [finding.state for finding in verdict.findings] == ["holds"] * 3


@pytest.mark.parametrize(
    "broken", [{"quality": WORSE}, {"latency": LATE}, {"errors": FAILING}], ids=["quality", "latency", "errors"]
)
def test_rolls_back_on_one_proof_of_harm(broken: dict[str, dict[float, int]]) -> None:
    verdict = judge(GATE, evidence(**({"quality": EQUAL, "latency": IN_TIME, "errors": SOUND} | broken)))
    assert verdict.decision == "roll back"
    states = {finding.metric: finding.state for finding in verdict.findings}
    assert states == {"quality": "holds", "latency": "holds", "errors": "holds"} | dict.fromkeys(broken, "broken")


def test_rolls_back_before_anything_else_is_known() -> None:
    assert judge(GATE, evidence(errors=FAILING)).decision == "roll back"


@pytest.mark.parametrize("empty", ["quality", "latency", "errors"])
def test_no_data_is_never_a_pass(empty: str) -> None:
    counts = {"quality": EQUAL, "latency": IN_TIME, "errors": SOUND}
    del counts[empty]
    verdict = judge(GATE, evidence(**counts))
    assert verdict.decision == "inconclusive"
    assert verdict.missing == (f"{empty}: no outcome yet",)


def test_says_how_many_more_are_needed_and_is_about_right() -> None:
    few = {value: times // 8 for value, times in EQUAL.items()}
    verdict = judge(Gate(quality=0.02), evidence(quality=few))
    assert verdict.decision == "inconclusive"
    more = int(verdict.missing[0].split("about ")[1].split()[0])
    times = (500 + more) / 500
    enough = {value: round(count * times * 1.02) for value, count in few.items()}
    almost = {value: round(count * times * 0.97) for value, count in few.items()}
    assert judge(Gate(quality=0.02), evidence(quality=enough)).decision == "promote"
    assert judge(Gate(quality=0.02), evidence(quality=almost)).decision == "inconclusive"


def test_a_difference_is_a_flag_and_no_verdict() -> None:
    a_little_worse = {-1.0: 4000, 0.0: 194_000, 1.0: 2000}
    verdict = judge(Gate(quality=0.02), evidence(quality=a_little_worse))
    assert verdict.decision == "promote"
    assert verdict.different


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"chosen": 1000, "dropped": 101}, "dropped"), ({"lengths_differ": True}, "prompt length")],
)
@pytest.mark.parametrize("quality", [EQUAL, WORSE], ids=["equal", "worse"])
def test_pairs_that_are_not_like_what_came_are_not_judged(
    changes: dict[str, Any], word: str, quality: dict[float, int]
) -> None:
    seen = evidence(quality=quality, latency=IN_TIME, errors=SOUND)
    for name, value in changes.items():
        setattr(seen, name, value)
    verdict = judge(GATE, seen)
    assert verdict.decision == "inconclusive"
    assert word in verdict.missing[0]


def test_what_is_no_matter_of_pairs_still_rolls_back() -> None:
    seen = evidence(quality=EQUAL, errors=FAILING)
    seen.chosen, seen.dropped = 1000, 500
    assert judge(GATE, seen).decision == "roll back"


def test_a_tenth_dropped_is_still_judged() -> None:
    seen = evidence(quality=EQUAL, latency=IN_TIME, errors=SOUND)
    seen.chosen, seen.dropped = 1000, 100
    assert judge(GATE, seen).decision == "promote"


@pytest.mark.parametrize("counts", [{"quality": EQUAL, "latency": IN_TIME, "errors": SOUND}, {"errors": FAILING}])
def test_no_verdict_on_skewed_assignments(counts: dict[str, dict[float, int]]) -> None:
    seen = evidence(**counts)
    for _ in range(400):
        seen.assignments.add({"baseline": 7, "int8": 3}, {"baseline": 1, "int8": 1})
    verdict = judge(GATE, seen)
    assert verdict.decision == "inconclusive"
    assert "2800 of 2000 due" in verdict.missing[0]


@pytest.mark.parametrize(
    ("costs", "decision"), [(None, "inconclusive"), ((2.0, 2.0), "inconclusive"), ((1.5, 2.0), "promote")]
)
def test_cost_compares_cards(costs: tuple[float, float] | None, decision: str) -> None:
    seen = evidence(quality=EQUAL)
    seen.costs = costs
    verdict = judge(Gate(quality=0.02, cost="lower"), seen)
    assert verdict.decision == decision
    assert all("cost" in missing for missing in verdict.missing)


def test_a_metric_gets_its_part_of_alpha() -> None:
    assert Gate(quality=0.0).alpha_each == 0.05
    assert GATE.alpha_each == pytest.approx(0.05 / 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 2.0}, {"quality": -0.1}, {"quality": True}, {"alpha": 0.0}, {"errors": 1.0}, {"delta": 0.1},
        {"latency": {"objective_s": 0.0, "share": 0.9}}, {"cost": "higher"},
    ],
)  # fmt: skip
def test_refuses_a_gate_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate(wrong)


def test_tallies_know_their_ranges() -> None:
    with pytest.raises(ValueError, match="low < high"):
        Tally(1.0, 1.0)


def test_feedback_is_a_mean_score_that_has_to_be_reached() -> None:
    gate = Gate(quality=None, feedback=0.8)
    assert judge(gate, evidence(feedback={0.9: 300})).decision == "promote"
    assert judge(gate, evidence(feedback={0.9: 100, 0.2: 200})).decision == "roll back"
    assert judge(gate, evidence()).missing == ("feedback: no outcome yet",)


def test_a_gate_of_which_nothing_can_be_known_yet_is_not_passed() -> None:
    verdict = judge(Gate(quality=None, feedback=0.8), evidence(feedback={1.0: 500}), ["feedback"])
    assert (verdict.decision, verdict.missing) == ("inconclusive", ("none of the gate's metrics can be known yet",))


def test_what_failed_and_what_was_dropped_count_together() -> None:
    seen = evidence(quality=EQUAL)
    seen.chosen, seen.dropped, seen.unjudged = 4000, 300, 101
    assert judge(Gate(quality=0.05), seen).decision == "inconclusive"
    seen.unjudged = 99
    assert judge(Gate(quality=0.05), seen).decision == "promote"
