from math import log

import numpy as np
import pytest
from scipy.stats import entropy

from variants.evidence.agreement import argmax_agreement, class_divergence, divergence


def logs(**shares: float) -> dict[int, float]:
    return {int(token[1:]): log(share) for token, share in shares.items()}


ONE = [logs(t1=0.7, t2=0.2), logs(t1=0.4, t3=0.35)]
OTHER = [logs(t1=0.6, t4=0.3), logs(t3=0.5, t1=0.3)]


def test_agreement_is_the_share_of_equal_tops() -> None:
    assert argmax_agreement(ONE, OTHER) == 0.5
    assert argmax_agreement(ONE, ONE) == 1.0


def test_divergence_is_none_with_oneself_and_a_lower_bound_otherwise() -> None:
    assert divergence(ONE, ONE) == 0
    full_one, full_other = np.array([0.7, 0.2, 0.06, 0.04]), np.array([0.6, 0.05, 0.3, 0.05])
    truth = entropy(full_one, full_other)
    named = divergence([logs(t1=0.7, t2=0.2)], [logs(t1=0.6, t3=0.3)])
    assert 0 < named <= truth


def test_classes_as_scipy_has_it() -> None:
    one, other = [0.7, 0.2, 0.1], [0.5, 0.25, 0.25]
    assert class_divergence(one, other) == pytest.approx(entropy(one, other))
    assert class_divergence(one, one) == 0


@pytest.mark.parametrize("wrong", [([], []), (ONE, ONE[:1])])
def test_refuses_other_positions(wrong: tuple[list[dict[int, float]], list[dict[int, float]]]) -> None:
    with pytest.raises(ValueError, match="positions"):
        argmax_agreement(*wrong)
