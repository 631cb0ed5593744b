from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from variants.evidence.betting import Bets, Tally
from variants.evidence.gate import DETECTORS, POOLED, Context, Evidence, Gate, LatencyObjective, Metric, judge
from variants.evidence.guard import Arms, ParentRate
from variants.evidence.paired import Paired
from variants.evidence.sample_ratio import Source

RIGHT, LOSS, GAIN = (1.0, 1.0), (0.0, 1.0), (1.0, 0.0)
GATE = Gate(quality=0.02, latency=LatencyObjective(objective_s=0.5, share=0.9), errors=0.02)
EQUAL = {LOSS: 100, RIGHT: 3800, GAIN: 100}
WORSE = {LOSS: 500, RIGHT: 3400, GAIN: 100}
IN_TIME, LATE = {1.0: 300}, {0.5: 300}
SOUND, FAILING = {0.0: 2000}, {0.0: 1800, 1.0: 200}
SHADOW = Context(contrast_on_card=0.97)
Values = Mapping[tuple[float, float], int]


def paired(values: Values, shuffled: float | None = 0.0) -> Paired:
    """Distinct requests with these values; their labels are never right for another request's answer."""
    counts = Paired()
    for each, times in values.items():
        for _ in range(times):
            counts.add(each, False, None, {}, shuffled)
    return counts


def evidence(quality: Values | None = None, agreement: Values | None = None, **tallies: Any) -> Evidence:
    seen = Evidence(quality=paired(quality or {}), agreement=paired(agreement or {}, None))
    for metric, values in tallies.items():
        for value, times in values.items():
            seen.tallies[metric].add(value, times)
    return seen


def sound() -> Evidence:
    return evidence(EQUAL, latency=IN_TIME, errors=SOUND)


def test_promotes_what_holds_everything() -> None:
    verdict = judge(GATE, sound(), SHADOW)
    assert verdict.decision == "promote"
    assert (verdict.missing, verdict.harm, verdict.different) == ((), (), False)
    assert [finding.state for finding in verdict.findings] == ["holds"] * 3


@pytest.mark.parametrize(
    "broken", [{"quality": WORSE}, {"latency": LATE}, {"errors": FAILING}], ids=["quality", "latency", "errors"]
)
def test_rolls_back_on_one_proof_of_harm(broken: dict[str, Any]) -> None:
    counts: dict[str, Any] = {"quality": EQUAL, "latency": IN_TIME, "errors": SOUND}
    verdict = judge(GATE, evidence(**counts | broken), SHADOW)
    assert verdict.decision == "roll back"
    assert verdict.harm == tuple(broken)
    states = {finding.metric: finding.state for finding in verdict.findings}
    assert states == {"quality": "holds", "latency": "holds", "errors": "holds"} | dict.fromkeys(broken, "broken")


def test_rolls_back_before_anything_else_is_known() -> None:
    assert judge(GATE, evidence(errors=FAILING)).decision == "roll back"


def test_latency_holds_only_while_the_share_of_all_requests_does() -> None:
    """A busy block has more requests than a quiet one, and is one outcome like that."""
    seen = sound()
    seen.in_time = (510, 1000)
    verdict = judge(GATE, seen, SHADOW)
    assert verdict.decision == "inconclusive"
    assert any("but 0.5100 of all requests, which must be at least 0.9 too" in each for each in verdict.missing)
    seen.in_time = (900, 1000)
    assert judge(GATE, seen, SHADOW).decision == "promote"


@pytest.mark.parametrize("empty", ["quality", "latency", "errors"])
def test_no_data_is_never_a_pass(empty: str) -> None:
    counts: dict[str, Any] = {"quality": EQUAL, "latency": IN_TIME, "errors": SOUND}
    del counts[empty]
    verdict = judge(GATE, evidence(**counts), SHADOW)
    assert verdict.decision == "inconclusive"
    assert verdict.missing[0] == f"{empty}: no outcome yet"


def binary(n: int) -> Values:
    return {LOSS: n // 40, RIGHT: n - 2 * (n // 40), GAIN: n // 40}


def graded(n: int) -> Values:
    """Differences from -0.4 to 0.4, each seen once or a few times."""
    return Counter((0.5 + float(d), 0.5) for d in np.linspace(-0.4, 0.4, n))


@pytest.mark.parametrize(("values", "n"), [(binary, 480), (graded, 160)])
def test_says_how_many_more_are_needed_and_is_about_right(values: Callable[[int], Values], n: int) -> None:
    finding = judge(Gate(), evidence(values(n)), SHADOW).findings[0]
    assert (finding.state, finding.to_go is not None) == ("open", True)
    needed = n + (finding.to_go or 0)
    for number, state in ((needed * 1.04, "holds"), (needed * 0.95, "open")):
        assert judge(Gate(), evidence(values(round(number))), SHADOW).findings[0].state == state


def test_at_exactly_the_limit_no_number_is_foretold() -> None:
    finding = judge(Gate(), evidence({LOSS: 200, RIGHT: 9800}), SHADOW).findings[0]
    assert (finding.state, finding.to_go) == ("open", None)


def test_a_difference_is_a_flag_and_no_verdict() -> None:
    verdict = judge(Gate(), evidence({LOSS: 600, RIGHT: 29_000, GAIN: 400}), SHADOW)
    assert (verdict.decision, verdict.different) == ("promote", True)


@pytest.mark.parametrize(
    ("quality", "decision"), [(EQUAL, "inconclusive"), (WORSE, "roll back")], ids=["equal", "worse"]
)
def test_skewed_assignments_stop_promotion_and_never_a_proof_of_harm(quality: Values, decision: str) -> None:
    seen = evidence(quality)
    for _ in range(400):
        seen.assignments.add({"baseline": 7, "int8": 3}, {"baseline": 1, "int8": 1})
    verdict = judge(Gate(), seen, SHADOW)
    assert verdict.decision == decision
    assert "2800 of 2000 due" in verdict.missing[0]
    counts = {"baseline": 2800, "int8": 1200}
    seen.assignments.departures.add(Source("team", "c2", "weight", 0), counts, {"baseline": 1, "int8": 1})
    assert (
        "most of all the key team, the client c2 (baseline 2800 of 2000 due" in judge(Gate(), seen, SHADOW).missing[0]
    )


def test_most_outcomes_over_their_clients_share_stop_promotion() -> None:
    seen = evidence(EQUAL)
    seen.over_share = 4000
    assert judge(Gate(), seen, SHADOW).decision == "promote"
    seen.over_share = 4001
    verdict = judge(Gate(), seen, SHADOW)
    assert verdict.decision == "inconclusive"
    assert "brought more than 10% of all" in verdict.missing[0]


@pytest.mark.parametrize(("lost", "decision"), [(0, "promote"), (30, "promote"), (360, "inconclusive")])
def test_lost_requests_count_at_worst_for_promotion(lost: int, decision: str) -> None:
    """A hard tenth loses 30 points, and all of it is lost: what remains looks equal."""
    seen = evidence(EQUAL)
    seen.quality.lost = lost
    verdict = judge(Gate(), seen, SHADOW)
    assert verdict.decision == decision
    assert verdict.findings[0].lost == lost


def test_lost_requests_count_as_harmless_for_a_proof_of_harm() -> None:
    seen = evidence(WORSE)
    assert judge(Gate(), seen, SHADOW).decision == "roll back"
    seen.quality.lost = 400
    assert judge(Gate(), seen, SHADOW).decision == "inconclusive"


def repeated_prompt(values: tuple[float, float], times: int) -> Evidence:
    """4,000 distinct requests that are equal, and one that is sent again and again."""
    seen = evidence(EQUAL)
    for number in range(times):
        seen.quality.add(values, number > 0, 0.02, {}, 0.0)
    return seen


def test_one_prompt_that_always_goes_wrong_is_not_promoted() -> None:
    """Half of the traffic: by request the mean is -0.5, by distinct request -0.0002."""
    verdict = judge(Gate(), repeated_prompt(LOSS, 4000), SHADOW)
    finding = verdict.findings[0]
    assert verdict.decision == "roll back"
    assert finding.value == pytest.approx(-0.5)
    assert finding.distinct == pytest.approx(-1 / 4001)


def test_one_prompt_that_always_goes_right_hides_no_loss() -> None:
    seen = evidence(WORSE)
    for _ in range(400_000 // 100):
        seen.quality.by_request[RIGHT] += 100
        seen.quality.contrasts[0.0, 1.0] += 100
    verdict = judge(Gate(), seen, SHADOW)
    assert verdict.findings[0].value == pytest.approx(-0.001, abs=1e-4)
    assert verdict.findings[0].state == "open"
    assert verdict.decision == "inconclusive"


@pytest.mark.parametrize(
    ("costs", "decision"), [(None, "inconclusive"), ((2.0, 2.0), "inconclusive"), ((1.5, 2.0), "promote")]
)
def test_cost_compares_cards(costs: tuple[float, float] | None, decision: str) -> None:
    verdict = judge(Gate(cost="lower"), evidence(EQUAL), replace(SHADOW, costs=costs))
    assert verdict.decision == decision
    assert all("cost" in missing for missing in verdict.missing)


def test_alpha_of_harm_is_divided_and_adds_up() -> None:
    for gate in (Gate(), GATE):
        for phases in (1, 5):
            harm = len(gate.metrics) * gate.alpha_each + phases * DETECTORS * gate.alpha_step(phases)
            assert harm == pytest.approx(gate.alpha)
    assert Gate().alpha_each == pytest.approx(POOLED * 0.05)


def test_each_attempt_has_half_the_alpha_of_the_one_before() -> None:
    seen = evidence({RIGHT: 320, LOSS: 1, GAIN: 1})
    lows = [judge(Gate(), seen, replace(SHADOW, attempt=attempt)).findings[0].low for attempt in (1, 2, 3)]
    assert lows == sorted(lows, reverse=True)
    assert len(set(lows)) == 3
    halved = judge(Gate(alpha=0.025), seen, SHADOW).findings[0].low
    assert lows[1] == pytest.approx(halved)


def test_a_thousand_attempts_are_still_judged() -> None:
    many = replace(SHADOW, attempt=5000)
    assert judge(Gate(), evidence(WORSE), many).decision == "roll back"
    assert judge(Gate(), evidence(EQUAL), many).decision == "inconclusive"


def test_an_attempt_does_not_make_a_proof_of_harm_harder() -> None:
    seen = evidence({LOSS: 30, RIGHT: 100})
    highs = {judge(Gate(), seen, replace(SHADOW, attempt=attempt)).findings[0].high for attempt in (1, 9)}
    assert len(highs) == 1


def test_bets_near_the_card_need_fewer_pairs_and_promote_nothing_else() -> None:
    bets = Bets.near(np.array([0.0, 0.5, 1.0]), np.array([0.01, 0.98, 0.01]), 0.49)
    seen = evidence({LOSS: 4, RIGHT: 392, GAIN: 4})
    default, near = (judge(Gate(), seen, replace(SHADOW, bets=each)).findings[0].low for each in (Bets(), bets))
    assert near > default
    assert judge(Gate(), evidence(WORSE), replace(SHADOW, bets=bets)).decision == "roll back"


def always_wrong() -> Evidence:
    """Labels `zzz`: both models are wrong, by this label and by any other request's."""
    return evidence({(0.0, 0.0): 20_000})


def test_junk_labels_never_promote() -> None:
    verdict = judge(Gate(), always_wrong(), SHADOW)
    assert verdict.findings[0].state == "holds"
    assert verdict.decision == "inconclusive"
    assert "these labels do not tell right from wrong" in verdict.missing[0]


def test_labels_without_a_contrast_never_promote() -> None:
    seen = Evidence(quality=paired(EQUAL, shuffled=None))
    verdict = judge(Gate(), seen, SHADOW)
    assert (verdict.decision, len(verdict.missing)) == ("inconclusive", 1)
    assert "another request's label" in verdict.missing[0]


@pytest.mark.parametrize(("junk", "decision"), [(0.0, "roll back"), (0.5, "inconclusive")])
def test_half_junk_among_the_labels_hides_no_loss(junk: float, decision: str) -> None:
    """The variant loses 3 points at a limit of 2. With half junk, the difference looks like 1.5 points."""
    n = 40_000
    honest = round(n * (1 - junk))
    seen = evidence({LOSS: round(0.03 * honest), RIGHT: honest - round(0.03 * honest), (0.0, 0.0): n - honest})
    verdict = judge(Gate(), seen, Context(contrast_on_card=1.0))
    assert verdict.decision == decision
    if junk:
        assert verdict.findings[0].state == "holds"
        assert "held relative to what they tell: 0.500 live, 1.000 on its card" in verdict.missing[0]


def test_half_junk_among_the_labels_still_promotes_an_equal_variant() -> None:
    seen = evidence({LOSS: 100, GAIN: 100, RIGHT: 19_800, (0.0, 0.0): 20_000})
    assert judge(Gate(), seen, Context(contrast_on_card=1.0)).decision == "promote"


def test_agreement_needs_no_labels() -> None:
    gate = Gate(quality=None, agreement=0.02)
    assert judge(gate, evidence(agreement=EQUAL)).decision == "promote"
    assert judge(gate, evidence(agreement=WORSE)).decision == "roll back"


def test_the_floor_is_a_share_of_the_parents_quality() -> None:
    """The parent is right in 60 %. A floor of 0.9 allows to lose 6 points."""
    gate = Gate(quality=None, floor=0.9)
    lose_3 = {LOSS: 300, RIGHT: 5700, (0.0, 0.0): 4000}
    lose_9 = {LOSS: 900, RIGHT: 5100, (0.0, 0.0): 4000}
    context = Context(contrast_on_card=0.6)
    assert judge(gate, evidence(lose_3), context).decision == "promote"
    assert judge(gate, evidence(lose_9), context).decision == "roll back"
    by_agreement = judge(gate, evidence(agreement=lose_9), Context(floor_by="agreement"))
    assert by_agreement.decision == "roll back"
    assert by_agreement.different


def test_chance_labels_hide_no_loss_from_a_floor() -> None:
    """Nine tenths of the labels are drawn by lot and are right for either side in half of all requests. The variant
    loses 10 points. The floor allows 2 % of what looks like an accuracy of 55 %."""
    n = 40_000
    honest = n // 10
    seen = Evidence(quality=paired({LOSS: honest // 10, RIGHT: honest - honest // 10}))
    for values, shuffled in ((RIGHT, 1.0), (RIGHT, 0.0), ((0.0, 0.0), 1.0), ((0.0, 0.0), 0.0)):
        seen.quality.by_request[values] += n * 9 // 40
        seen.quality.distinct[values] += n * 9 // 40
        seen.quality.contrasts[0.0, values[1] - shuffled] += n * 9 // 40
    verdict = judge(Gate(quality=None, floor=0.98), seen, Context(contrast_on_card=1.0))
    assert verdict.findings[0].value == pytest.approx(-0.01 + 0.02 * 0.55)
    assert verdict.decision == "inconclusive"
    assert "held relative to what they tell: 0.100 live" in verdict.missing[-1]


def with_segment(n: int, losses: int) -> Evidence:
    """20,000 equal requests in English, and `n` in German of which the variant loses some."""
    seen = evidence()
    seen.quality.by_request[RIGHT] = seen.quality.distinct[RIGHT] = seen.quality.contrasts[0.0, 1.0] = 20_000
    for number in range(n):
        seen.quality.add(LOSS if number < losses else RIGHT, False, None, {"language": "de"}, 0.0)
    seen.quality.segments["language=en"] = Counter({0.0: 20_000})
    return seen


def test_a_segment_that_loses_inside_a_better_mean_is_named() -> None:
    verdict = judge(Gate(), with_segment(600, 90), SHADOW)
    assert verdict.findings[0].state == "holds"
    assert verdict.decision == "inconclusive"
    assert verdict.missing[0].startswith("segment language=de seems to lose more than the mean may: -0.150")
    assert [segment.name for segment in verdict.segments] == ["language=de", "language=en"]


def test_a_segment_is_held_to_its_limit() -> None:
    gate = Gate(segment=0.05)
    assert judge(gate, with_segment(2000, 20), SHADOW).decision == "promote"
    verdict = judge(gate, with_segment(2000, 100), SHADOW)
    assert verdict.decision == "inconclusive"
    assert "not yet shown to be at least -0.05" in verdict.missing[0]


@pytest.mark.parametrize("seen", [with_segment(5, 0), evidence(EQUAL)], ids=["few", "none"])
def test_a_limit_on_segments_without_outcomes_is_not_held(seen: Evidence) -> None:
    assert judge(Gate(), seen, SHADOW).decision == "promote"
    verdict = judge(Gate(segment=0.05), seen, SHADOW)
    assert (verdict.decision, len(verdict.missing)) == ("inconclusive", 1)
    assert "segment" in verdict.missing[0]


SERVES = replace(SHADOW, serves=True)
LAST = replace(SERVES, last=True)


def with_clients(
    seen: Evidence, share: float = 0.0, slow: bool = False, seconds: int = 1500, blocks: int = 25
) -> Evidence:
    """Evidence with seconds and blocks of the variant's clients beside its parent's, all in the present step."""
    seen.arms, rate = Arms(), ParentRate()
    for _ in range(seconds):
        rate.add(0.0)
    for second in range(seconds):
        failed = float(int((second + 1) * share) > int(second * share))
        seen.arms.add_second(second, 0.0, failed, 1, rate, 0.01)
        seen.beside.differences.add(failed)
    for _ in range(blocks):
        seen.arms.add_block(slow)
        seen.beside.slow.add(float(slow))
    return seen


def test_a_step_with_clients_is_passed_by_its_own_clients_only() -> None:
    """Shadow pairs alone move a rollout to its first clients, and no further."""
    assert judge(GATE, sound(), SHADOW).decision == "promote"
    for context in (SERVES, LAST):
        verdict = judge(GATE, sound(), context)
        assert verdict.decision == "inconclusive"
        assert verdict.waits == verdict.missing != ()
        assert judge(GATE, with_clients(sound()), context).decision == "promote"
    assert judge(GATE.model_copy(update={"guard": None}), sound(), LAST).decision == "promote"


def test_the_last_step_is_passed_when_both_arms_are_proven_alike() -> None:
    few = with_clients(sound(), seconds=100, blocks=2)
    assert judge(GATE, few, SERVES).decision == "promote"
    verdict = judge(GATE, few, LAST)
    assert (verdict.decision, len(verdict.waits)) == ("inconclusive", 2)
    assert judge(GATE, few, replace(LAST, alone=True)).decision == "promote"


def test_sound_seconds_of_earlier_steps_are_no_clients_of_this_one() -> None:
    seen = with_clients(sound())
    seen.arms = Arms()
    assert judge(GATE, seen, SERVES).decision == "inconclusive"


@pytest.mark.parametrize(
    ("changes", "harm"),
    [
        ({"share": 0.25}, ("errors in this step",)),
        ({"slow": True}, ("latency of its clients in this step",)),
        ({"share": 0.001}, ()),
    ],
)
def test_harm_to_its_clients_rolls_back_though_pairs_are_sound(changes: dict[str, Any], harm: tuple[str, ...]) -> None:
    verdict = judge(GATE, with_clients(sound(), **changes), SERVES)
    assert (verdict.harm, verdict.decision == "roll back") == (harm, bool(harm))


@pytest.mark.parametrize(("clients", "decision"), [("these", "promote"), ("sample", "inconclusive")])
def test_a_verdict_about_all_clients_needs_many_of_them(clients: str, decision: str) -> None:
    """4,000 pairs, but of ten clients."""
    gate = Gate(clients=clients)
    seen = evidence(EQUAL)
    seen.quality.firsts = Counter({RIGHT: 10})
    assert judge(gate, seen, SHADOW).decision == decision
    assert judge(gate, evidence(EQUAL), SHADOW).decision == "promote"


def test_harm_that_begins_in_this_step_is_detected_after_ten_thousand_clean_pairs() -> None:
    seen = evidence({RIGHT: 10_000})
    for number in range(120):
        seen.quality.add(LOSS if number % 4 == 0 else RIGHT, False, 0.02, {}, 0.0)
    verdict = judge(Gate(), seen, SERVES)
    assert verdict.findings[0].state == "holds"
    assert verdict.harm == ("quality in this step",)


def test_a_gate_of_which_nothing_can_be_known_yet_is_not_passed() -> None:
    gate = Gate(quality=None, feedback=0.8)
    verdict = judge(gate, evidence(feedback={1.0: 500}), Context(leave_out=("feedback",)))
    assert (verdict.decision, verdict.missing) == ("inconclusive", ("none of the gate's metrics can be known yet",))


def test_feedback_is_a_mean_score_that_has_to_be_reached() -> None:
    gate = Gate(quality=None, feedback=0.8)
    assert judge(gate, evidence(feedback={0.9: 300})).decision == "promote"
    assert judge(gate, evidence(feedback={0.9: 100, 0.2: 200})).decision == "roll back"
    assert judge(gate, evidence()).missing == ("feedback: no outcome yet",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"quality": 2.0}, {"quality": -0.1}, {"quality": True}, {"alpha": 0.0}, {"errors": 1.0}, {"delta": 0.1},
        {"latency": {"objective_s": 0.0, "share": 0.9}}, {"cost": "higher"}, {"quality": None, "errors": 0.02},
        {"client_share": 0.001}, {"guard": {"latency": 0.9}}, {"segment": 1.0},
    ],
)  # fmt: skip
def test_refuses_a_gate_that_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate.model_validate(wrong)


def test_tallies_know_their_ranges() -> None:
    with pytest.raises(ValueError, match="low < high"):
        Tally(1.0, 1.0)


def promoted_and_rolled_back(gate: Gate, metric: Metric, worse: float, better: float, runs: int) -> tuple[float, float]:
    """The shares of runs that are ever promoted and ever rolled back, looking after each 150 of 3,000 pairs."""
    rng = np.random.default_rng(11)
    promoted = rolled_back = 0
    for _ in range(runs):
        seen, ever = Evidence(), set()
        counts = seen.paired(metric)
        for _ in range(20):
            losses, gains, same = rng.multinomial(150, [worse, better, 1 - worse - better])
            for values, times in ((LOSS, losses), (GAIN, gains), (RIGHT, same)):
                counts.by_request[values] += int(times)
                counts.distinct[values] += int(times)
            ever.add(judge(gate, seen).decision)
        promoted += "promote" in ever
        rolled_back += "roll back" in ever
    return promoted / runs, rolled_back / runs


def test_false_alarms_at_the_limit_are_within_alpha_both_ways() -> None:
    """At exactly the limit both decisions are wrong. With 0.05, 7 of 40 runs have a probability of 0.003."""
    gate = Gate(quality=None, agreement=0.05)
    promoted, rolled_back = promoted_and_rolled_back(gate, "agreement", 0.07, 0.02, 40)
    assert max(promoted, rolled_back) <= 6 / 40
