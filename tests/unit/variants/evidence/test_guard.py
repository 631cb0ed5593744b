from collections.abc import Iterable

import numpy as np
import pytest

from variants.evidence.guard import START, Arms, Beside, Guard, ParentRate

GUARD = Guard()
ALPHA = 0.05


def arms(
    seconds: Iterable[tuple[float | None, float]] = (), rate: ParentRate | None = None, blocks: Iterable[bool] = ()
) -> Arms:
    """A step with seconds of (parent's, variant's) failures, each with one request, and blocks: slow or not."""
    step, rate = Arms(), rate or ParentRate()
    for second, (parent, variant) in enumerate(seconds):
        if parent is not None:
            rate.add(parent)
        step.add_second(second, parent, variant, 1, rate, 0.01)
    for slow in blocks:
        step.add_block(slow)
    return step


def beside(differences: dict[float, int], slow: dict[float, int]) -> Beside:
    both = Beside()
    both.differences.counts, both.slow.counts = dict(differences), dict(slow)
    return both


def sound_parent(seconds: int = 1000, failed: float = 0.0) -> ParentRate:
    rate = ParentRate()
    for _ in range(seconds):
        rate.add(failed)
    return rate


SOUND = {0.0: 800}
IN_TIME = {0.0: 20}


def test_both_arms_alike_are_proven() -> None:
    assert beside(SOUND, IN_TIME).missing(GUARD, ALPHA) == []


@pytest.mark.parametrize(
    ("both", "words"),
    [
        (Beside(), ["no second yet", "slower in 0 of 0 blocks of 60 s"]),
        (beside({0.0: 100}, IN_TIME), ["+0.0000 in 100 s, not yet shown to be at most 0.01 more (about "]),
        (beside({0.02: 800}, IN_TIME), ["clients' errors against the parent's: +0.0200 in 800 s"]),
        (beside(SOUND, {}), ["slower in 0 of 0 blocks"]),
        (beside(SOUND, {0.0: 2}), ["slower in 0 of 2 blocks"]),
        (beside(SOUND, {0.0: 10, 1.0: 10}), ["slower in 10 of 20 blocks"]),
    ],
)
def test_what_is_not_yet_proven_is_said(both: Beside, words: list[str]) -> None:
    missing = both.missing(GUARD, ALPHA)
    assert len(missing) == len(words)
    assert all(word in why for word, why in zip(words, missing, strict=True))


def test_a_variant_that_fails_more_will_never_be_proven() -> None:
    (why,) = beside({0.02: 800}, IN_TIME).missing(GUARD, ALPHA)
    assert "more like these" not in why


@pytest.mark.parametrize(
    ("step", "enough"),
    [(Arms(100, 60), True), (Arms(99, 60), False), (Arms(100, 59), False), (Arms(10_000, 1), False)],
)
def test_a_step_needs_requests_and_time(step: Arms, enough: bool) -> None:
    assert (step.missing(GUARD) == []) is enough


def test_what_the_guard_does_not_compare_is_not_held() -> None:
    none = Guard(errors=None, latency=None)
    assert Beside().missing(none, ALPHA) == []
    harmed = arms([(0.0, 1.0)] * 100, sound_parent(), [True] * 50)
    assert harmed.broken(GUARD, ALPHA) == ["errors in this step", "latency of its clients in this step"]
    assert harmed.broken(none, ALPHA) == []


def test_the_number_of_seconds_that_are_left_is_about_right() -> None:
    (why,) = beside({0.0: 120}, IN_TIME).missing(GUARD, ALPHA)
    needed = 120 + int(why.split("about ")[1].split()[0])
    assert beside({0.0: round(needed * 1.03)}, IN_TIME).missing(GUARD, ALPHA) == []
    assert beside({0.0: round(needed * 0.96)}, IN_TIME).missing(GUARD, ALPHA) != []


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
    step.add_second(0, 0.0, 1.0, 1000, sound_parent(), 0.01)
    assert (step.requests, step.failing.n) == (1000, 1)
    assert step.broken(GUARD, 0.01) == []


def test_sound_replays_do_not_hide_that_clients_fail() -> None:
    step, rate, seconds = Arms(), sound_parent(), 0
    while not step.broken(GUARD, 0.001):
        seconds += 1
        step.add_second(seconds, 0.0, float(seconds % 10 == 0), 1, rate, 0.01)
        for _ in range(50):
            step.add_replay(False, rate, 0.01)
    assert seconds <= 120


def test_replays_that_fail_are_harm_of_their_own() -> None:
    step, rate = Arms(), sound_parent()
    for number in range(60):
        step.add_replay(number % 3 == 0, rate, 0.01)
    assert step.broken(GUARD, 0.001) == ["errors of replays in this step"]


def test_a_variant_that_fails_one_point_more_is_let_on_with_probability_alpha_at_most() -> None:
    """At exactly the limit, looking every 100 s. With 0.05, 20 of 200 runs have a probability of 0.002."""
    rng = np.random.default_rng(13)
    guard = Guard(errors=0.05, latency=None)
    let_on = 0
    for _ in range(200):
        both = Beside()
        for differences in (rng.choice([-1.0, 0.0, 1.0], size=(15, 100), p=[0.01, 0.93, 0.06])).tolist():
            for each in differences:
                both.differences.add(each)
            if not both.missing(guard, ALPHA):
                let_on += 1
                break
    assert let_on < 20


def test_an_equal_variant_is_harmed_by_neither_detector_beyond_alpha() -> None:
    """Both arms fail in 3 % of their requests, against a rate that is estimated on the way."""
    rng = np.random.default_rng(14)
    harmed = 0
    for _ in range(60):
        failed = (rng.random((250, 2)) < 0.03).astype(float).tolist()
        slow = (rng.random(60) < 0.5).tolist()
        harmed += bool(arms([(parent, variant) for parent, variant in failed], blocks=slow).broken(GUARD, ALPHA / 2))
    assert harmed <= 8


def test_a_variant_that_is_slower_in_half_of_the_blocks_is_let_on_with_probability_alpha_at_most() -> None:
    rng = np.random.default_rng(15)
    let_on = 0
    for _ in range(200):
        both = Beside()
        for slow in (rng.random(60) < 0.5).astype(float).tolist():
            both.slow.add(slow)
            if not both.missing(Guard(errors=None), ALPHA):
                let_on += 1
                break
    assert let_on < 20


def test_a_step_that_looks_worse_is_held_up_whatever_earlier_steps_showed() -> None:
    sound = [(0.0, 0.0)] * 300
    assert arms(sound, blocks=[False] * 6).missing(GUARD) == []
    assert "fail 0.0500 more often" in arms([(0.0, 0.05)] * 300).missing(GUARD)[0]
    assert "wait longer in 4 of 6 blocks" in arms(sound, blocks=[True] * 4 + [False] * 2).missing(GUARD)[0]


def test_seconds_of_two_ingresses_are_one_second() -> None:
    step, rate = Arms(), sound_parent()
    for second in (7, 7, 8):
        step.add_second(second, None, 0.0, 1, rate, 0.01)
    assert (step.seconds, step.requests) == (2, 3)
