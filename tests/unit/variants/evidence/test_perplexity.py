"""Perplexity and its interval: exact where that can be said, and as wide as repeated draws say."""

import random
from math import exp, log

import pytest

from variants.evidence.perplexity import perplexity, perplexity_difference


def test_it_is_exp_of_the_mean_over_tokens_not_over_passages() -> None:
    interval = perplexity([log(2) * 100, log(8) * 300], [100, 300])
    assert interval.value == pytest.approx(exp((log(2) + 3 * log(8)) / 4))
    assert interval.low < interval.value < interval.high


def test_equal_passages_leave_nothing_open() -> None:
    interval = perplexity([log(5) * n for n in (10, 20, 30)], [10, 20, 30])
    assert (interval.low, interval.value, interval.high) == pytest.approx((5, 5, 5))


def test_a_variant_that_is_worse_by_the_same_everywhere_is_surely_worse() -> None:
    tokens = [100, 150, 80, 120]
    theirs = [300.0, 500.0, 200.0, 420.0]
    ours = [nats + 0.1 * count for nats, count in zip(theirs, tokens, strict=True)]
    interval = perplexity_difference(ours, theirs, tokens)
    base = perplexity(theirs, tokens)
    assert interval.value == pytest.approx(base.value * (exp(0.1) - 1))
    # Pairing takes out how hard each passage is: what is left is that a harder one is worse by more.
    assert interval.high - interval.low < 0.2 * (base.high - base.low)
    assert interval.low > 0


def test_ninety_five_of_a_hundred_intervals_hold_the_truth() -> None:
    draw = random.Random(3)
    held = 0
    for _ in range(1000):
        tokens = [draw.randint(200, 400) for _ in range(24)]
        nats = [count * draw.gauss(3.0, 0.4) for count in tokens]
        interval = perplexity(nats, tokens)
        held += interval.low <= exp(3.0) <= interval.high
    assert 930 <= held <= 970


@pytest.mark.parametrize(("nats", "tokens"), [([1.0], [1]), ([], []), ([1.0, 2.0], [1]), ([1.0, 2.0], [0, 1])])
def test_what_has_no_interval_is_refused(nats: list[float], tokens: list[int]) -> None:
    with pytest.raises(ValueError, match="need two or more"):
        perplexity(nats, tokens)
