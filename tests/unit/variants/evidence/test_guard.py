from collections.abc import Iterable

import numpy as np
import pytest

from variants.evidence.guard import FEWEST, START, Arms, Guard, ParentRate

GUARD = Guard()
ALPHA = 0.05


def arms(seconds: Iterable[tuple[float | None, float]] = (), rate: ParentRate | None = None,
         blocks: Iterable[tuple[float, float]] = ()) -> Arms:  # fmt: skip
    """A step with seconds of (parent's, variant's) failures, each with one request, and blocks of percentiles."""
    step, rate = Arms(), rate or ParentRate()
    for parent, variant in seconds:
        if parent is not None:
            rate.add(parent)
        step.add_second(parent, variant, 1, rate, 0.01)
    for parent_s, variant_s in blocks:
        step.add_block(parent_s, variant_s, 1.25)
    return step


def sound_parent(seconds: int = 1000, failed: float = 0.0) -> ParentRate:
    rate = ParentRate()
    for _ in range(seconds):
        rate.add(failed)
    return rate


SOUND = [(0.0, 0.0)] * 800
IN_TIME = [(1.0, 1.0)] * 20


def test_a_sound_step_lacks_nothing() -> None:
    step = arms(SOUND, blocks=IN_TIME)
    assert step.missing(GUARD, ALPHA, False) == []
    assert step.broken(GUARD, ALPHA) == []


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (Arms(), ["0 of at least 100 requests", "no second yet", "0 blocks of 60 s"]),
        (arms(SOUND[:99], blocks=IN_TIME), ["99 of at least 100 requests", "not yet shown to be at most 0.01 more"]),
        (arms(SOUND), ["0 blocks of 60 s with 20 requests of both"]),
        (arms(SOUND, blocks=IN_TIME[:3]), ["3 blocks"]),
        (arms([(0.0, 0.02)] * 800, blocks=IN_TIME), ["clients' errors against the parent's: +0.0200 in 800 s"]),
        (arms([(None, 0.0)] * 800, blocks=IN_TIME), ["no second yet"]),
        (arms(SOUND, blocks=[(1.0, 1.26)] * 10 + IN_TIME[:10]), ["20 blocks"]),
    ],
)
def test_what_a_step_has_to_show(step: Arms, words: list[str]) -> None:
    missing = step.missing(GUARD, ALPHA, False)
    assert len(missing) == len(words)
    assert all(word in why for word, why in zip(words, missing, strict=True))


def test_without_a_parent_beside_it_only_the_number_of_requests_is_held() -> None:
    assert Arms(requests=100).missing(GUARD, ALPHA, True) == []
    assert len(Arms(requests=99).missing(GUARD, ALPHA, True)) == 1


def test_what_the_guard_does_not_compare_is_not_held() -> None:
    none = Guard(errors=None, latency=None)
    assert Arms(requests=100).missing(none, ALPHA, False) == []
    harmed = arms([(0.0, 1.0)] * 100, sound_parent(), [(1.0, 9.0)] * 50)
    assert harmed.broken(GUARD, ALPHA) == ["errors in this step", "latency of its clients in this step"]
    assert harmed.broken(none, ALPHA) == []


def test_the_number_of_seconds_that_are_left_is_about_right() -> None:
    step = arms(SOUND[:120], blocks=IN_TIME)
    (why,) = step.missing(GUARD, ALPHA, False)
    left = int(why.split("about ")[1].split()[0])
    assert arms(SOUND[:1] * round((120 + left) * 1.03), blocks=IN_TIME).missing(GUARD, ALPHA, False) == []
    assert arms(SOUND[:1] * round((120 + left) * 0.96), blocks=IN_TIME).missing(GUARD, ALPHA, False) != []


def test_a_common_outage_harms_neither() -> None:
    assert arms([(0.9, 0.9)] * 300, sound_parent()).broken(GUARD, ALPHA) == []
    assert arms([(0.0, 0.9)] * 30, sound_parent()).broken(GUARD, ALPHA) == ["errors in this step"]


def test_while_the_parent_fails_always_nothing_is_harm() -> None:
    assert arms([(1.0, 1.0)] * 300, sound_parent()).failing.n == 0


def test_failures_are_compared_with_the_parents_rate_so_far() -> None:
    assert arms([(None, 0.05)] * 400, sound_parent(failed=0.05)).broken(GUARD, ALPHA) == []
    assert arms([(None, 0.05)] * 400, sound_parent()).broken(GUARD, ALPHA) == ["errors in this step"]


def test_the_parents_rate_begins_with_the_weight_of_one_second() -> None:
    rate = ParentRate()
    assert rate.rate == START
    for failed in (0.0, 0.45, 0.0, 0.0):
        rate.add(failed)
    assert rate.rate == pytest.approx(0.1)


def test_requests_that_fail_together_in_one_second_are_one_outcome() -> None:
    step = Arms()
    step.add_second(0.0, 1.0, 1000, sound_parent(), 0.01)
    assert (step.requests, step.failing.n) == (1000, 1)
    assert step.broken(GUARD, 0.01) == []


def test_sound_replays_do_not_hide_that_clients_fail() -> None:
    step, rate, seconds = Arms(), sound_parent(), 0
    while not step.broken(GUARD, 0.001):
        seconds += 1
        step.add_second(0.0, float(seconds % 10 == 0), 1, rate, 0.01)
        for _ in range(50):
            step.add_replay(False, rate, 0.01)
    assert seconds <= 120


def test_replays_that_fail_are_harm_of_their_own() -> None:
    step, rate = Arms(), sound_parent()
    for number in range(60):
        step.add_replay(number % 3 == 0, rate, 0.01)
    assert step.broken(GUARD, 0.001) == ["errors of replays in this step"]


def test_a_block_is_slow_above_the_ratio_and_not_at_it() -> None:
    step = arms(blocks=[(1.0, 1.25), (1.0, 1.26), (0.1, 0.1)])
    assert step.slow.counts == {0.0: 2, 1.0: 1}
    assert FEWEST == 20


def test_a_variant_that_fails_one_point_more_is_let_on_with_probability_alpha_at_most() -> None:
    """At exactly the limit, looking every 100 s. With 0.05, 20 of 200 runs have a probability of 0.002."""
    rng = np.random.default_rng(13)
    guard = Guard(errors=0.05, latency=None)
    let_on = 0
    for _ in range(200):
        step = Arms(requests=100)
        for differences in (rng.choice([-1.0, 0.0, 1.0], size=(15, 100), p=[0.01, 0.93, 0.06])).tolist():
            for each in differences:
                step.differences.add(each)
            if not step.missing(guard, ALPHA, False):
                let_on += 1
                break
    assert let_on < 20


def test_an_equal_variant_is_harmed_by_neither_detector_beyond_alpha() -> None:
    """Both arms fail in 3 % of their requests, against a rate that is estimated on the way."""
    rng = np.random.default_rng(14)
    harmed = 0
    for _ in range(60):
        failed = (rng.random((250, 2)) < 0.03).astype(float).tolist()
        slow = [(1.0, 2.0 * high) for high in (rng.random(60) < 0.5).astype(float).tolist()]
        harmed += bool(arms([(parent, variant) for parent, variant in failed], blocks=slow).broken(GUARD, ALPHA / 2))
    assert harmed <= 8
