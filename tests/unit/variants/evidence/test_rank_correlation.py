"""Spearman's correlation: known orders, equal scores, and what has no order."""

import numpy as np
import pytest

from variants.evidence.rank_correlation import difference, measure


def test_only_the_order_counts() -> None:
    scores = [float(number) for number in range(40)]
    assert measure([score**3 for score in scores], scores).value == pytest.approx(1)
    assert measure([-score for score in scores], scores).value == pytest.approx(-1)
    # 1, 2, 3, 5, 4: 1 - 6 * 2 / (5 * 24), by Spearman's formula without ties
    assert measure([1, 2, 3, 5, 4], [1, 2, 3, 4, 5]).value == pytest.approx(0.9)


def test_equal_scores_share_a_rank() -> None:
    # Ranks 1.5, 1.5, 3 against 1, 2, 3: Pearson's correlation of these is sqrt(3) / 2.
    assert measure([0, 1, 2], [0, 0, 5]).value == pytest.approx(3**0.5 / 2)


def test_a_difference_is_paired() -> None:
    random = np.random.default_rng(0)
    scores = random.uniform(0, 5, 200)
    theirs = scores + random.normal(0, 1, 200)
    ours = theirs + random.normal(0, 0.05, 200)
    alone, paired = (
        measure(theirs.tolist(), scores.tolist()),
        difference(ours.tolist(), theirs.tolist(), scores.tolist()),
    )
    assert abs(paired.value) < 0.01
    assert paired.high - paired.low < 0.2 * (alone.high - alone.low)
    assert (paired.low, paired.high) != (0, 0)
    same = difference(ours.tolist(), ours.tolist(), scores.tolist())
    assert (same.low, same.value, same.high) == (0, 0, 0)


def test_what_has_no_order() -> None:
    assert measure([0.5] * 10, list(range(10))).value == 0
    assert measure([0.1, 0.2], [0, 1]).low == 0, "a draw of one pair twice orders nothing"
    with pytest.raises(ValueError, match="all scores are equal"):
        measure([0.1, 0.2, 0.3], [2, 2, 2])
    with pytest.raises(ValueError, match="not a finite number"):
        measure([0.1, float("nan")], [1, 2])
    with pytest.raises(ValueError, match="1 cosines for 2 scores"):
        measure([0.1], [1, 2])
