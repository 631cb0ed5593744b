"""The mean of a harness' samples: a share where each is right or wrong, else any number."""

import pytest

from variants.evidence.intervals import paired_difference, wilson
from variants.metrics.harness import SampleMean
from variants.metrics.outcome import Outcome

ACC = SampleMean("acc", "share")


def outcomes(*values: float) -> list[Outcome]:
    return [Outcome(str(number), "1", str(value), value == 1, value) for number, value in enumerate(values)]


def test_right_and_wrong_samples_have_the_intervals_of_shares() -> None:
    assert ACC.measure(outcomes(1, 0, 1, 1)) == wilson(3, 4)
    expected = paired_difference([True, False, True], [False, False, True])
    assert ACC.difference(outcomes(1, 0, 1), outcomes(0, 0, 1)) == expected


def test_other_values_have_bootstraps_around_their_mean() -> None:
    f1 = SampleMean("f1", "")
    figure = f1.measure(outcomes(0.25, 0.75, 1, 0.5))
    assert figure.value == pytest.approx(0.625)
    assert 0.25 <= figure.low < figure.value < figure.high <= 1
    difference = f1.difference(outcomes(0.5, 1, 0.5), outcomes(0.25, 0.75, 0.25))
    assert (difference.value, difference.low, difference.high) == pytest.approx((0.25, 0.25, 0.25))


def test_answers_that_the_harness_does_not_judge_alone_are_not_compared() -> None:
    assert ACC.agrees("2", "2") is True
    assert ACC.agrees("2", "1") is False
    assert ACC.agrees("", "") is None
