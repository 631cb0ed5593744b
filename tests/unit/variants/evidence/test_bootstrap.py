import math
import random

import numpy as np
import pytest

from variants.evidence import bootstrap
from variants.evidence.intervals import wilson


def test_a_draw_is_n_of_n_with_replacement_and_seeded() -> None:
    drawn = list(bootstrap.draws(50, seed=1, resamples=20))
    assert all(counts.sum() == 50 and counts.shape == (50,) and counts.dtype == np.int64 for counts in drawn)
    assert any(counts.max() > 1 for counts in drawn)
    again = list(bootstrap.draws(50, seed=1, resamples=20))
    assert all((one == other).all() for one, other in zip(drawn, again, strict=True))
    assert any(
        (one != other).any() for one, other in zip(drawn, bootstrap.draws(50, seed=2, resamples=20), strict=True)
    )


def test_of_a_share_it_is_what_the_score_interval_says() -> None:
    outcomes = [1.0] * 300 + [0.0] * 100
    interval, wanted = bootstrap.interval(bootstrap.mean(outcomes), 400), wilson(300, 400)
    assert interval.value == 0.75
    assert interval.low == pytest.approx(wanted.low, abs=0.01)
    assert interval.high == pytest.approx(wanted.high, abs=0.01)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    draw, inside = random.Random(5), 0
    for seed in range(120):
        sample = [draw.random() ** 2 for _ in range(80)]  # the mean is 1/3
        interval = bootstrap.interval(bootstrap.mean(sample), 80, seed=seed, resamples=200)
        inside += interval.low <= 1 / 3 <= interval.high
    assert 0.88 * 120 <= inside <= 120


def test_pairing_takes_out_what_examples_have_in_common() -> None:
    draw = random.Random(0)
    hard = [draw.random() for _ in range(200)]
    better = [value + 0.01 for value in hard]
    first, second = bootstrap.mean(better), bootstrap.mean(hard)
    interval = bootstrap.paired_difference(first, second, 200)
    assert math.isclose(interval.value, 0.01, abs_tol=1e-9)
    assert 0.0099 < interval.low <= interval.high < 0.0101
    alone = bootstrap.interval(first, 200)
    assert alone.high - alone.low > 0.05


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        bootstrap.interval(lambda counts: 0.0, 0)
    with pytest.raises(ValueError, match="at least one of each"):
        bootstrap.interval(lambda counts: 0.0, 3, resamples=0)
