"""What is counted of the observations by rules 3, and what is left out."""

import json
from typing import Any

import pytest

from serve.control.pair_evidence import PairEvidence
from variants.evidence.gate import Context, Gate, LatencyObjective, judge
from variants.evidence.guard import FEWEST, Arms

NOTHING: dict[str, Any] = {"seen": 0, "incomparable": {}, "chosen": 0, "skipped": [], "lost": {}, "pairs": []}


def pair(name: str, **more: Any) -> dict[str, Any]:
    usual = {
        "id": name, "request": name, "length": 10, "client": name, "trusted": False, "metric": "quality",
        "values": (1.0, 1.0), "shuffled": 0.0, "label": True, "asked": True, "failed": False, "lost": None,
        "segments": {}, "divergence": None,
    }  # fmt: skip
    return {**usual, **more}


def second(version: int, at: int = 1, requests: int = 10, failed: float = 0.0) -> list[Any]:
    return [version, at, requests, failed]


def minute(version: int, block: int, p95_s: float, requests: int = 20) -> list[Any]:
    return [version, 0.5, block, requests, requests, p95_s / 2, p95_s]


def arm(seconds: list[Any] | None = None, minutes: list[Any] | None = None) -> dict[str, Any]:
    return {"requests": 0, "failed": 0, "left": 0, "seconds": seconds or [], "minutes": minutes or []}


def shadowed(pairs: list[dict[str, Any]], gate: Gate | None = None, **more: Any) -> PairEvidence:
    kept = PairEvidence()
    kept.count_shadowed(NOTHING | {"chosen": len(pairs), "pairs": pairs, **more}, gate)
    return kept


def test_a_request_id_counts_once_and_a_request_again_by_request_only() -> None:
    repeated = [pair("r1"), pair("r1"), pair("r2", request="r1"), pair("r3")]
    kept = shadowed(repeated)
    assert (kept.compared, kept.evidence.quality.distinct.total(), kept.evidence.tallies["errors"].n) == (3, 2, 3)


def test_a_replay_that_fails_is_an_error_and_its_pair_is_lost() -> None:
    """A failure of the machine says nothing of correctness, on either side."""
    failed = [pair(f"f{n}", metric=None, values=None, failed=True, lost="the variant failed") for n in range(60)]
    kept = shadowed(failed + [pair(f"g{n}") for n in range(40)])
    evidence = kept.evidence
    assert (evidence.tallies["errors"].n, evidence.tallies["errors"].mean) == (100, 0.6)
    assert (evidence.quality.n, evidence.quality.lost, dict(kept.lost)) == (40, 60, {"the variant failed": 60})
    assert judge(Gate(errors=0.1), evidence).harm == ("errors",)


def test_what_failed_at_both_arms_is_counted_apart() -> None:
    kept = PairEvidence()
    kept.count_served(arm() | {"failed_at_both": 2}, arm() | {"failed_at_both": 3}, Gate())
    kept.count_served(arm(), None, Gate())
    assert kept.to_json()["coverage"]["failed_at_both"] == 5
    assert kept.evidence.tallies["errors"].n == 0


def test_a_lost_pair_is_lost_for_what_would_be_preferred_too() -> None:
    lost = shadowed([pair("r", metric=None, values=None, lost="left")], lost={"agreement": {"context": [7]}})
    assert lost.evidence.preference.lost == 2


def test_an_opinion_that_does_not_count_has_a_reason() -> None:
    unlabelled = {"metric": "agreement", "label": None, "shuffled": None, "same": False}
    kept = shadowed([pair("r", client="c", **unlabelled), pair("s", client="c", **unlabelled)])
    assert kept.evidence.over_share == 1
    assert kept.why_not_counted("r") is None
    assert "its client brought more than its share" in str(kept.why_not_counted("s"))
    assert "is over, or began anew" in str(kept.why_not_counted("t"))
    kept.count_shadowed(NOTHING | {"opinions": [pair("r", outcome=1, by="person", known=None, **unlabelled)]}, None)
    assert "came first" in str(kept.why_not_counted("r"))


def test_opinions_count_for_pairs_of_an_earlier_batch() -> None:
    unlabelled = {"metric": "agreement", "label": None, "shuffled": None}
    kept = shadowed([pair("r", same=False, **unlabelled), pair("s", same=True, **unlabelled)])
    assert (kept.evidence.preference.n, kept.evidence.preference.lost) == (1, 1)
    opinion = {name: pair("r")[name] for name in ("id", "request", "client", "trusted", "segments")}
    opinion |= {"outcome": -1, "by": "person", "known": None}
    kept.count_shadowed(NOTHING | {"opinions": [opinion]}, None)
    assert (kept.evidence.preference.n, kept.evidence.preference.lost) == (2, 0)
    assert kept.to_json()["opinions"]["by"] == {"person": 1}


def test_requests_that_were_never_paired_are_lost_by_metric_and_reason() -> None:
    lost = {"quality": {"context": [10, 20], "parent 503": [5]}, "agreement": {"context": [7]}}
    kept = shadowed([pair("r", metric=None, values=None, label=False, lost="left")], lost=lost)
    assert dict(kept.lost) == {"context": 3, "parent 503": 1, "left": 1}
    assert (kept.evidence.quality.lost, kept.evidence.agreement.lost) == (3, 2)


def test_what_cannot_be_compared_is_counted_beside_what_can() -> None:
    kept = shadowed([], seen=10, incomparable={"tools": 3, "n > 1": 1})
    kept.count_shadowed(NOTHING | {"seen": 10, "incomparable": {"tools": 1}}, None)
    assert kept.to_json()["coverage"] == {
        "seen": 20, "comparable": 15, "share": 0.75, "incomparable": {"tools": 4, "n > 1": 1},
        "failed_at_both": 0,
    }  # fmt: skip


def test_one_client_with_nine_tenths_of_the_labels_carries_a_tenth() -> None:
    pairs = []
    for number in range(1000):
        client = f"honest {number // 10 % 25}" if number % 10 == 0 else "flood"
        pairs.append(pair(f"r{number}", client=client))
    evidence = shadowed(pairs).evidence
    assert evidence.quality.n + evidence.over_share == 1000
    assert 100 <= evidence.quality.n <= 112
    verdict = judge(Gate(), evidence)
    assert any("brought more than 10% of all" in each for each in verdict.missing)


def test_pairs_without_labels_give_no_client_a_larger_share_of_the_labels() -> None:
    pairs = [pair(f"a{number}", metric="agreement", label=False) for number in range(1000)]
    pairs += [pair(f"q{number}", client="flood") for number in range(100)]
    kept = shadowed(pairs)
    assert (kept.evidence.agreement.n, kept.evidence.quality.n, kept.evidence.over_share) == (1000, 1, 99)


def test_a_trusted_key_has_no_share() -> None:
    assert shadowed([pair(f"r{n}", client="one", trusted=True) for n in range(100)]).evidence.quality.n == 100


def test_the_parents_score_by_another_label_is_the_contrast() -> None:
    kept = shadowed([pair("r1", shuffled=1.0), pair("r2", shuffled=None), pair("r3", shuffled=0.0)])
    assert kept.to_json()["labels"] == {"n": 2, "contrast": 0.5}


def test_segments_have_differences_of_their_own() -> None:
    pairs = [pair("r1", segments={"language": "de"}, values=(0.0, 1.0)), pair("r2", segments={"language": "en"})]
    segments = shadowed(pairs).evidence.quality.segments
    assert {name: dict(counts) for name, counts in segments.items()} == {
        "language=de": {-1.0: 1}, "language=en": {0.0: 1}
    }  # fmt: skip


def test_both_arms_are_compared_in_the_same_minute_of_the_present_step() -> None:
    kept = PairEvidence()
    kept.begin_step(2)
    parent = arm([second(1, 5, failed=1.0), second(2, 7, failed=0.25), second(2, 9)])
    variant = arm([second(2, 7, failed=0.5), second(2, 8), second(1, 9, failed=1.0), second(2, 70), second(2, 4)])
    kept.count_served(parent, variant, Gate())
    arms = kept.evidence.arms
    assert arms is not None
    assert (arms.requests, arms.seconds, arms.failing.n) == (40, 4, 4)
    assert kept.evidence.beside.differences.counts == {0.25: 1, -0.25: 1}
    assert kept.evidence.tallies["errors"].n == 5
    assert kept.parent_rate.seconds == 4


def test_a_step_keeps_what_both_arms_showed_beside_each_other_before() -> None:
    kept = PairEvidence()
    kept.begin_step(1)
    kept.count_served(arm([second(1, 7)]), arm([second(1, 7)]), Gate())
    kept.begin_step(2)
    assert (kept.evidence.arms, kept.evidence.beside.differences.n) == (Arms(), 1)


@pytest.mark.parametrize(
    ("parent", "variant", "slow"),
    [
        (minute(2, 5, 1.0), minute(2, 5, 1.26), {1.0: 1}), (minute(2, 5, 1.0), minute(2, 5, 1.25), {0.0: 1}),
        (minute(2, 5, 1.0), minute(2, 6, 9.0), {}), (minute(1, 5, 1.0), minute(2, 5, 9.0), {}),
        (minute(1, 5, 1.0), minute(1, 5, 9.0), {}), (minute(2, 5, 1.0, requests=FEWEST - 1), minute(2, 5, 9.0), {}),
        (minute(2, 5, 1.0), minute(2, 5, 9.0, requests=FEWEST - 1), {}),
    ],
)  # fmt: skip
def test_blocks_are_compared_where_both_arms_have_enough_requests(
    parent: list[Any], variant: list[Any], slow: dict[float, int]
) -> None:
    kept = PairEvidence()
    kept.begin_step(2)
    kept.count_served(arm(minutes=[parent]), arm(minutes=[variant]), Gate())
    assert kept.evidence.arms is not None
    assert kept.evidence.beside.slow.counts == slow
    assert kept.evidence.arms.slowing.n == sum(slow.values())


def test_a_block_without_an_answer_is_no_measurement_of_latency() -> None:
    kept = PairEvidence()
    kept.begin_step(2)
    nothing: list[Any] = [2, 0.5, 5, 20, 0, None, None]
    kept.count_served(arm(minutes=[minute(2, 5, 1.0)]), arm(minutes=[nothing]), Gate())
    kept.count_served(arm(minutes=[nothing]), arm(minutes=[minute(2, 5, 1.0)]), Gate())
    assert kept.evidence.beside.slow.n == 0
    assert kept.latency_within(0.5).counts == {0.0: 1, 1.0: 1}


def test_ten_thousand_sound_shadows_hide_no_failures_of_clients() -> None:
    """At 10 % of the traffic a tenth of the variant's requests fail, while its replays go on without a failure."""
    kept, gate = PairEvidence(), Gate()
    kept.begin_step(1)
    for block in range(100):
        kept.count_served(arm([second(1, block)]), None, gate)
        kept.count_shadowed(NOTHING | {"pairs": [pair(f"s{block}.{n}") for n in range(100)]}, gate)
    kept.begin_step(2)
    requests = 0
    while not (harm := judge(gate, kept.evidence, Context(serves=True, phases=5)).harm):
        requests += 1
        assert requests <= 120
        kept.count_served(
            arm([second(2, 1000 + requests)]),
            arm([second(2, 1000 + requests, 1, float(requests % 10 == 0))]), gate,
        )  # fmt: skip
        kept.count_shadowed(NOTHING | {"pairs": [pair(f"t{requests}.{n}") for n in range(20)]}, gate)
    assert harm == ("errors in this step",)


def test_replays_that_begin_to_fail_are_harm_in_their_step() -> None:
    kept, gate = PairEvidence(), Gate()
    kept.begin_step(1)
    for number in range(200):
        kept.count_served(arm([second(1, number)]), None, gate)
    pairs = [pair(f"f{n}", failed=n % 3 == 0, metric=None, values=None, lost="failed") for n in range(60)]
    kept.count_shadowed(NOTHING | {"pairs": pairs}, gate)
    assert judge(gate, kept.evidence).harm == ("errors of replays in this step",)


def test_it_is_shown_as_json() -> None:
    shown = shadowed([pair("r1", divergence=0.5), pair("r2", metric=None, values=None, lost="left")]).to_json()
    assert json.loads(json.dumps(shown)) == shown
    assert shown["pairs"] == {
        "chosen": 2, "compared": 1, "distinct": 1, "skipped": 0, "lost": {"left": 1}, "over_share": 0, "divergence": 0.5
    }  # fmt: skip
    assert json.loads(json.dumps(PairEvidence().to_json()))["coverage"]["share"] is None


def test_a_step_begins_with_new_detectors_and_keeps_the_pairs() -> None:
    kept = shadowed([pair("r1", values=(0.0, 1.0))])
    assert kept.evidence.quality.harm.n == 1
    kept.begin_step(2)
    assert (kept.evidence.quality.harm.n, kept.compared, kept.since) == (0, 1, 2)


def test_latencies_are_judged_by_the_gates_objective_and_by_request() -> None:
    kept = PairEvidence()
    busy, quiet = [1, 0.5, 1, 90, 0, 1.0, 1.0], [1, 0.5, 2, 10, 10, 0.1, 0.1]
    kept.count_served(None, arm(minutes=[busy, quiet]), Gate())
    gate = Gate(latency=LatencyObjective(objective_s=0.5, share=0.5))
    evidence = kept.judged_by(gate)
    assert (evidence.tallies["latency"].mean, evidence.in_time) == (0.5, (10, 100))
    stricter = gate.model_copy(update={"latency": LatencyObjective(objective_s=0.1, share=0.5)})
    assert (kept.judged_by(stricter).tallies["latency"].n, kept.judged_by(stricter).in_time) == (0, (0, 0))
