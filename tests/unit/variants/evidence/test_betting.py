from itertools import product
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.evidence.betting import (
    PRIOR,
    SHARES,
    Tally,
    evidence_above,
    evidence_below,
    is_above,
    is_below,
    lower_bound,
    upper_bound,
)

COUNTS = st.dictionaries(st.sampled_from([-1.0, -0.4, 0.0, 0.7, 1.0]), st.integers(0, 400), max_size=5)


def tally(counts: dict[float, int]) -> Tally:
    return Tally(-1.0, 1.0, dict(counts))


def test_wealth_is_split_once() -> None:
    assert PRIOR.sum() == pytest.approx(1)
    assert len(SHARES) == len(PRIOR)
    assert ((SHARES > 0) & (SHARES < 1)).all()


@pytest.mark.parametrize("mean", [-0.6, -0.02, 0.0, 0.3])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_a_fair_bet_neither_wins_nor_loses(mean: float, n: int) -> None:
    """Over every sequence of n outcomes whose mean is the null's, the wealth is 1 on average: a martingale."""
    up = (mean + 1) / 2 * 0.8  # on -1, 0.25, 1 with the mean asked for
    middle = (mean + 1 - 2 * up) / 1.25
    chances = {-1.0: 1 - up - middle, 0.25: middle, 1.0: up}
    assert min(chances.values()) > 0
    total = 0.0
    for outcomes in product(chances, repeat=n):
        seen = tally({})
        for outcome in outcomes:
            seen.add(outcome)
        total += float(np.prod([chances[o] for o in outcomes])) * exp(evidence_above(seen, mean))
    assert total == pytest.approx(1)


@given(COUNTS, st.floats(-0.99, 0.99), st.sampled_from([0.2, 0.05, 0.001]))
def test_the_bound_is_the_largest_mean_that_is_rejected(counts: dict[float, int], mean: float, alpha: float) -> None:
    seen = tally(counts)
    low, high = lower_bound(seen, alpha), upper_bound(seen, alpha)
    if abs(low - mean) > 1e-6:
        assert is_above(seen, mean, alpha) == (low > mean)
    if abs(high - mean) > 1e-6:
        assert is_below(seen, mean, alpha) == (high < mean)
    if seen.n:
        assert -1 <= low <= seen.mean <= high <= 1


@given(COUNTS)
def test_the_two_sides_are_mirrors(counts: dict[float, int]) -> None:
    seen = tally(counts)
    assert upper_bound(seen, 0.05) == pytest.approx(-lower_bound(seen.mirrored(), 0.05))
    assert evidence_below(seen, 0.1) == pytest.approx(evidence_above(seen.mirrored(), -0.1))


def test_without_outcomes_nothing_is_known() -> None:
    seen = tally({})
    assert (lower_bound(seen, 0.05), upper_bound(seen, 0.05)) == (-1, 1)
    assert evidence_above(seen, 0.0) == 0
    with pytest.raises(ValueError, match="no outcome yet"):
        _ = seen.mean


def test_outcomes_that_all_are_the_same_never_settle_their_own_value() -> None:
    seen = tally({0.0: 100_000})
    low, high = lower_bound(seen, 0.05), upper_bound(seen, 0.05)
    assert low < 0 < high
    assert high - low < 0.001


def test_it_narrows_with_the_root_of_n() -> None:
    widths = []
    for n in (1_000, 100_000):
        seen = tally({-1.0: n // 20, 0.0: n - n // 10, 1.0: n // 20})
        widths.append(upper_bound(seen, 0.05) - lower_bound(seen, 0.05))
    assert 6 < widths[0] / widths[1] < 14


def test_the_lowest_mean_is_beaten_by_any_outcome_above_it() -> None:
    assert evidence_above(tally({-1.0: 5}), -1.0) == 0
    assert is_above(tally({-0.4: 1}), -1.0, 1e-9)


@pytest.mark.parametrize(("value", "times"), [(1.01, 1), (-1.5, 1), (0.0, -1), (float("nan"), 1)])
def test_refuses_what_is_no_outcome(value: float, times: int) -> None:
    with pytest.raises(ValueError, match="need values from"):
        tally({}).add(value, times)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1])
def test_refuses_a_level_that_is_none(alpha: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        lower_bound(tally({0.0: 1}), alpha)


def test_proof_is_the_inverse_of_alpha() -> None:
    seen = tally({1.0: 3})
    wealth = evidence_above(seen, 0.0)
    assert is_above(seen, 0.0, exp(-wealth) * 1.001)
    assert not is_above(seen, 0.0, exp(-wealth) * 0.999)
    assert wealth < 3 * log(2)  # no bet can more than double what is staked at even odds
