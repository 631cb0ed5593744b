"""Equal answers are no loss without a question; those that differ are lost until somebody says which is better."""

from typing import Any

import pytest

from serve.control.opinion_counts import OpinionCounts
from variants.evidence.gate import Evidence, Gate, judge
from variants.evidence.paired import Paired

DELTA = 0.02


def pair(name: str, same: bool | None = True, values: tuple[float, float] | None = None) -> dict[str, Any]:
    return {
        "id": name, "request": name, "client": name, "trusted": False, "segments": {}, "same": same,
        "metric": "quality" if values else "agreement", "values": values or (1.0, 1.0),
    }  # fmt: skip


def opinion(name: str, outcome: int, by: str = "judge", known: int | None = None) -> dict[str, Any]:
    return {**pair(name), "outcome": outcome, "by": by, "known": known}


def test_equal_answers_count_and_those_that_differ_wait() -> None:
    counts, preference = OpinionCounts(), Paired()
    for each in (pair("a"), pair("b", same=False), pair("c", same=None)):
        counts.count_pair(each, preference, DELTA, False, True)
    assert (preference.n, preference.lost) == (1, 1)
    assert (counts.equal, counts.differing) == (1, 1)


@pytest.mark.parametrize("outcome", [-1, 0, 1])
def test_the_first_opinion_on_a_pair_counts(outcome: int) -> None:
    counts, preference = OpinionCounts(), Paired()
    counts.count_pair(pair("a", same=False), preference, DELTA, False, True)
    counts.count(opinion("a", outcome), preference, DELTA)
    counts.count(opinion("a", -outcome, by="person"), preference, DELTA)
    counts.count(opinion("unknown", 1), preference, DELTA)
    assert (preference.n, preference.lost, preference.differences().mean) == (1, 0, outcome)
    assert dict(counts.by) == {"judge": 1}


@pytest.mark.parametrize(("values", "outcome"), [((1.0, 0.0), 1), ((0.5, 0.5), 0), ((0.2, 0.9), -1)])
def test_a_label_needs_no_question_and_measures_the_judge(values: tuple[float, float], outcome: int) -> None:
    counts, preference = OpinionCounts(), Paired()
    counts.count_pair({**pair("a", same=False, values=values), "trusted": True}, preference, DELTA, False, True)
    assert (preference.n, preference.lost, preference.differences().mean) == (1, 0, outcome)
    for said in (-1, 0, 1):
        counts.count(opinion("a", said, known=outcome), preference, DELTA)
    counts.count(opinion("a", outcome, by="person", known=outcome), preference, DELTA)
    assert counts.to_json()["judge"] == {"agreed": 1, "disagreed": 2}
    assert preference.n == 1


def test_a_label_that_nobody_trusts_decides_nothing() -> None:
    """Junk labels would say of every pair that both answers are alike."""
    counts, preference = OpinionCounts(), Paired()
    counts.count_pair(pair("a", same=False, values=(0.0, 0.0)), preference, DELTA, False, True)
    assert (preference.n, preference.lost) == (0, 1)
    counts.count(opinion("a", -1, known=0), preference, DELTA)
    assert (preference.n, preference.lost, preference.differences().mean) == (1, 0, -1)
    assert counts.to_json()["judge"] == {"agreed": 0, "disagreed": 1}


def verdict(wait: int, better: int) -> str:
    """Of 1,000 pairs 20 differ; so many wait, and of the others so many are better, the rest worse."""
    evidence, counts = Evidence(), OpinionCounts()
    for number in range(1000):
        counts.count_pair(pair(f"r{number}", same=number >= 20), evidence.preference, DELTA, False, True)
    for number in range(20 - wait):
        counts.count(opinion(f"r{number}", 1 if number < better else -1), evidence.preference, DELTA)
    return judge(Gate(quality=None, preference=DELTA, guard=None), evidence).decision


def test_a_few_opinions_promote_what_many_labels_would() -> None:
    assert verdict(wait=0, better=10) == "promote"


def test_pairs_that_wait_cannot_hide_a_loss() -> None:
    assert verdict(wait=20, better=0) == "inconclusive"


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize(("repeated", "new"), [(True, True), (False, False)])
def test_a_repeated_request_and_a_known_client_are_remembered(same: bool, repeated: bool, new: bool) -> None:
    counts, preference = OpinionCounts(), Paired()
    counts.count_pair(pair("a", same=same), preference, DELTA, repeated, new)
    counts.count(opinion("a", 1), preference, DELTA)
    assert (preference.n, preference.distinct.total(), preference.firsts.total()) == (1, not repeated, new)
