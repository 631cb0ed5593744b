"""A variant beside its parent: differences and agreement, on the same examples or not at all."""

import pytest

from tests.unit.variants.evaluation.test_evaluate import Parity
from variants.evaluation.paired import agreement, differences
from variants.metrics.base import ACCURACY, Statistic
from variants.metrics.outcome import Outcome

PARENT = "ab" * 32


def outcomes(answers: str) -> list[Outcome]:
    """One letter an example; "r" is right."""
    return [Outcome(f"p{number}", "r", answer, answer == "r") for number, answer in enumerate(answers)]


def test_differences_are_ours_less_theirs_with_what_they_are_of() -> None:
    (difference,) = differences(Parity(), outcomes("rrrx"), outcomes("rxxx"), PARENT)
    assert (difference.task, difference.metric, difference.parent, difference.n) == ("parity", "accuracy", PARENT, 4)
    assert difference.value == pytest.approx(0.5)
    assert difference.low < 0.5 < difference.high


def test_agreement_counts_same_answers_right_or_wrong() -> None:
    agreed = agreement(Parity(), outcomes("rxyz"), outcomes("rxzy"), PARENT)
    assert agreed is not None
    assert (agreed.value, agreed.n, agreed.parent) == (0.5, 4, PARENT)
    assert agreed.low < 0.5 < agreed.high


def test_equal_accuracies_may_hide_unlike_answers() -> None:
    ours, theirs = outcomes("rrxx"), outcomes("xxrr")
    (difference,) = differences(Parity(), ours, theirs, PARENT)
    agreed = agreement(Parity(), ours, theirs, PARENT)
    assert agreed is not None
    assert (difference.value, agreed.value) == (0, 0)


def test_a_metric_that_cannot_compare_answers_has_no_agreement() -> None:
    class Spread(Parity):
        metrics = (Statistic("spread", "", of=lambda given: float(len(given))), ACCURACY)

    assert agreement(Spread(), outcomes("r"), outcomes("r"), PARENT) is None
    assert [each.metric for each in differences(Spread(), outcomes("r"), outcomes("r"), PARENT)] == [
        "spread",
        "accuracy",
    ]


def test_other_examples_are_no_pair() -> None:
    with pytest.raises(ValueError, match="different examples"):
        differences(Parity(), outcomes("rr"), outcomes("r"), PARENT)
