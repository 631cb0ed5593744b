"""Metrics: shares by Wilson and Newcombe, everything else by a paired bootstrap."""

from collections.abc import Sequence
from math import exp

import pytest

from variants.metrics.base import ACCURACY, Statistic
from variants.metrics.outcome import Outcome


def outcomes(*answers: object) -> list[Outcome]:
    return [Outcome(str(number), "a", str(answer), answer == "a") for number, answer in enumerate(answers)]


def perplexity(given: Sequence[Outcome]) -> float:
    return exp(sum(float(each.answer) for each in given) / len(given))


PERPLEXITY = Statistic("perplexity", "", "lower", of=perplexity)


def test_accuracy_is_the_share_of_right_answers() -> None:
    interval = ACCURACY.measure(outcomes("a", "a", "b", "a"))
    assert interval.value == 0.75
    assert 0.25 < interval.low < 0.5 < interval.high < 1
    assert ACCURACY.agrees(" pos", "pos")
    assert not ACCURACY.agrees("pos", "neg")


def test_a_statistic_of_many_examples_has_an_interval_around_it() -> None:
    interval = PERPLEXITY.measure(outcomes(*(3 + 0.1 * (number % 10) for number in range(200))))
    assert interval.value == pytest.approx(exp(3.45))
    # The mean of 200 draws with standard deviation 0.287: 1.96 standard errors are 0.0398 in the exponent.
    assert interval.low == pytest.approx(exp(3.45 - 0.0398), rel=0.01)
    assert interval.high == pytest.approx(exp(3.45 + 0.0398), rel=0.01)
    assert PERPLEXITY.agrees("3.1", "3.1") is None


def test_a_paired_difference_is_narrower_than_that_of_strangers() -> None:
    theirs = [3 + 0.1 * (number % 10) for number in range(200)]
    interval = PERPLEXITY.difference(outcomes(*(each + 0.05 for each in theirs)), outcomes(*theirs))
    assert interval.value == pytest.approx(exp(3.5) - exp(3.45))
    assert interval.high - interval.low < 0.2  # 3.5 if the examples were not the same
    assert interval.low > 0


def test_the_same_outcomes_differ_by_nothing_and_the_same_way_each_time() -> None:
    same = outcomes(*(float(number) / 50 for number in range(50)))
    interval = PERPLEXITY.difference(same, same)
    assert (interval.value, interval.low, interval.high) == (0, 0, 0)
    assert PERPLEXITY.measure(same) == PERPLEXITY.measure(same)


def test_a_figure_that_resampling_shrinks_stays_in_its_interval() -> None:
    distinct = Statistic("distinct answers", "", of=lambda drawn: float(len({each.answer for each in drawn})))
    interval = distinct.measure(outcomes(*range(30)))
    assert interval.value == interval.high == 30
    assert interval.low < 25


@pytest.mark.parametrize("counts", [(0, 0), (3, 2)])
def test_outcomes_that_cannot_be_paired_are_refused(counts: tuple[int, int]) -> None:
    ours, theirs = (outcomes(*(["1.0"] * count)) for count in counts)
    with pytest.raises(ValueError, match=r"at least one|same examples"):
        PERPLEXITY.difference(ours, theirs)
