from itertools import product
from math import exp

import numpy as np
import pytest

from variants.evidence.sample_ratio import SampleRatio


@pytest.mark.parametrize("weights", [{"a": 1.0, "b": 1.0}, {"a": 80.0, "b": 15.0, "c": 5.0}])
def test_wealth_is_one_on_average_when_weights_are_followed(weights: dict[str, float]) -> None:
    """Over every sequence of five, with weights that change after the third: a martingale, whatever the weights."""
    later = dict(zip(weights, reversed(weights.values()), strict=True))
    total = 0.0
    for sequence in product(weights, repeat=5):
        test, chance = SampleRatio(), 1.0
        for place, variant in enumerate(sequence):
            now = weights if place < 3 else later
            test.add({variant: 1}, now)
            chance *= now[variant] / sum(now.values())
        total += chance * exp(test.log_wealth)
    assert total == pytest.approx(1)


def test_a_share_that_is_off_is_found_and_stays_found() -> None:
    test, random = SampleRatio(), np.random.default_rng(0)
    for _ in range(5000):
        test.add({"a" if random.random() < 0.55 else "b": 1}, {"a": 1, "b": 1})
    assert test.is_broken()
    for _ in range(5000):
        test.add({"a" if random.random() < 0.45 else "b": 1}, {"a": 1, "b": 1})
    assert test.is_broken()


def test_a_share_that_is_right_is_not_found_while_weights_move() -> None:
    test, random = SampleRatio(), np.random.default_rng(1)
    for share in (0.0, 0.1, 0.5, 1.0):
        for _ in range(5000):
            test.add({"new" if random.random() < share else "old": 1}, {"old": 1 - share, "new": share})
    assert test.n == 20_000
    assert not test.is_broken()


def test_a_variant_of_weight_0_is_never_assigned_by_weight() -> None:
    test = SampleRatio()
    test.add({"a": 1}, {"a": 1, "b": 0})
    assert not test.is_broken()
    test.add({"b": 1}, {"a": 1, "b": 0})
    assert test.is_broken()


def test_a_batch_is_judged_by_what_was_known_before_it() -> None:
    test = SampleRatio()
    test.add({"a": 500, "b": 1}, {"a": 1, "b": 1})
    assert not test.is_broken()
    test.add({"a": 500, "b": 1}, {"a": 1, "b": 1})
    assert test.is_broken()


def test_refuses_weights_that_assign_nobody() -> None:
    with pytest.raises(ValueError, match="no weight above 0"):
        SampleRatio().add({"a": 1}, {"a": 0.0})
