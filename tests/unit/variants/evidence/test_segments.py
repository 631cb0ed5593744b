from collections import Counter

import numpy as np
import pytest

from variants.evidence.betting import Tally, lower_bound, upper_bound
from variants.evidence.segments import FEWEST, judge_segments, segments_missing

SEGMENTS = {
    "language=en": Counter({0.0: 5000}),
    "language=de": Counter({-1.0: 90, 0.0: 510}),
    "language=fr": Counter({-1.0: 2, 0.0: FEWEST - 3}),
}


def test_the_worst_is_named_first_with_its_interval() -> None:
    worst, *others = judge_segments(SEGMENTS, 0.05, -0.02)
    assert (worst.name, worst.n, worst.value) == ("language=de", 600, -0.15)
    assert worst.low < -0.15 < worst.high < -0.1
    assert [each.name for each in others] == ["language=en", "language=fr"]


def test_of_few_requests_nothing_is_known() -> None:
    few = judge_segments(SEGMENTS, 0.05, -0.02)[-1]
    assert (few.low, few.high, few.n) == (-1.0, 1.0, FEWEST - 1)
    enough = judge_segments({"a": Counter({-1.0: FEWEST})}, 0.05, None)[0]
    assert enough.high < 1.0


def test_alpha_is_divided_among_the_segments() -> None:
    tally = Tally(-1.0, 1.0, dict(SEGMENTS["language=de"]))
    worst = judge_segments(SEGMENTS, 0.06, None)[0]
    assert (worst.low, worst.high) == (lower_bound(tally, 0.02), upper_bound(tally, 0.02))


def test_a_segment_that_seems_to_lose_more_than_the_mean_may_forbids_a_promotion() -> None:
    (why,) = segments_missing(judge_segments(SEGMENTS, 0.05, -0.02), None)
    assert why.startswith("segment language=de seems to lose more than the mean may: -0.150")
    assert segments_missing(judge_segments(SEGMENTS, 0.05, -0.5), None) == []
    assert segments_missing(judge_segments(SEGMENTS, 0.05, None), None) == []


def test_a_segment_without_a_loss_is_suspect_with_the_stated_probability_at_most() -> None:
    """Five segments at the limit, looking every 50 requests. With 0.2, 22 of 60 runs have a probability of 0.002."""
    rng = np.random.default_rng(16)
    suspect = 0
    for _ in range(60):
        drawn = rng.multinomial(50, [0.06, 0.90, 0.04], size=(6, 5)).cumsum(axis=0).tolist()
        suspect += any(
            segments_missing(judge_segments({f"s={n}": Counter(dict(zip((-1.0, 0.0, 1.0), row, strict=True)))
                                             for n, row in enumerate(look)}, 0.05, -0.02), None)
            for look in drawn
        )  # fmt: skip
    assert suspect < 22


def test_with_a_limit_each_segment_must_be_proven_to_keep_it() -> None:
    why = segments_missing(judge_segments(SEGMENTS, 0.05, -0.02), 0.05)
    assert [each.split(":")[0] for each in why] == ["segment language=de", "segment language=fr"]
    sound = dict.fromkeys(SEGMENTS, SEGMENTS["language=en"])
    assert segments_missing(judge_segments(sound, 0.05, -0.02), 0.05) == []


def test_a_limit_without_any_segment_is_not_held() -> None:
    assert segments_missing((), None) == []
    assert segments_missing((), 0.05) == ["segments: no compared request has one yet"]


@pytest.mark.parametrize("discordance", [0.1, 0.5])
def test_all_bounds_hold_together(discordance: float) -> None:
    """Six equal segments. 0.05 twice of 40 runs: 11 have a probability of 0.002."""
    rng = np.random.default_rng(12)
    wrong = 0
    for _ in range(40):
        drawn = rng.multinomial(300, [discordance / 2, 1 - discordance, discordance / 2], size=6).tolist()
        segments = {f"s={number}": Counter(dict(zip((-1.0, 0.0, 1.0), row, strict=True)))
                    for number, row in enumerate(drawn)}  # fmt: skip
        wrong += any(each.low > 0 or each.high < 0 for each in judge_segments(segments, 0.05, -0.02))
    assert wrong < 11
