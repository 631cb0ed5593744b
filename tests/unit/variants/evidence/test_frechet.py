"""The Frechet distance of normal distributions, where it is known in closed form."""

import numpy as np
import pytest

from variants.evidence.frechet import frechet_distance

DRAW = np.random.default_rng(0)


def test_a_set_is_at_no_distance_from_itself() -> None:
    features = DRAW.standard_normal((50, 8))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_by_its_square() -> None:
    features = DRAW.standard_normal((50, 8))
    assert frechet_distance(features, features + np.array([3, 4, 0, 0, 0, 0, 0, 0])) == pytest.approx(25)


def test_another_spread_counts_by_the_difference_of_deviations() -> None:
    features = DRAW.standard_normal((50, 1))
    deviation = features.std(ddof=1)
    distance = frechet_distance(features, features.mean() + 3 * (features - features.mean()))
    assert distance == pytest.approx((2 * deviation) ** 2)
    assert distance == pytest.approx(frechet_distance(features.mean() + 3 * (features - features.mean()), features))


def test_features_that_never_vary_are_no_trouble() -> None:
    one, other = (np.pad(DRAW.standard_normal((40, 3)), ((0, 0), (0, 5))) for _ in range(2))
    assert 0 < frechet_distance(one, other) < 1


@pytest.mark.parametrize("shape", [(1, 8), (50, 7), (8,)])
def test_what_cannot_be_compared_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="need"):
        frechet_distance(DRAW.standard_normal((50, 8)), np.ones(shape))
