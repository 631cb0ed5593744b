from itertools import product
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.evidence.betting import (
    DEFAULT,
    LARGEST,
    PRIOR,
    SHARES,
    Bets,
    Floats,
    Tally,
    evidence_above,
    evidence_below,
    is_above,
    is_below,
    log_wealth,
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


TERNARY = np.array([0.0, 0.5, 1.0])


def near_card(worse: float = 0.01, better: float = 0.01, delta: float = 0.02) -> Bets:
    """Bets that expect these shares of -1 and +1, against a mean of -`delta`."""
    return Bets.near(TERNARY, np.array([worse, 1 - worse - better, better]), (1 - delta) / 2)


def ever_above(means: Floats, mean: float, runs: int, bets: Bets) -> float:
    """The share of runs in which binary outcomes with these means (n,) ever prove, looking each 10, to be above."""
    drawn = np.random.default_rng(8).random((runs, len(means))) < means
    ones = drawn.cumsum(axis=1)[:, 9::10]
    n = np.arange(10, len(means) + 1, 10)
    wealth = log_wealth(np.array([0.0, 1.0]), np.stack([n - ones, ones], axis=-1), mean, bets)
    return float((wealth >= log(1 / 0.05)).any(axis=1).mean())


@pytest.mark.parametrize("bets", [DEFAULT, Bets.near(np.array([0.0, 1.0]), np.array([0.2, 0.8]), 0.5)])
@pytest.mark.parametrize(
    "means",
    [np.full(1000, 0.5), np.repeat([0.2, 0.8], 500), np.tile(np.repeat([0.1, 0.9], 50), 10), np.linspace(0, 1, 1000)],
    ids=["constant", "one drift", "regimes", "rising"],
)
def test_false_proofs_over_all_looks_are_within_alpha_while_the_running_average_keeps_the_limit(
    means: Floats, bets: Bets
) -> None:
    """Of 2,000 runs, 0.065 is three standard deviations above 0.05."""
    assert ((means.cumsum() / np.arange(1, 1001)) <= 0.5 + 1e-9).all()
    assert ever_above(means, 0.5, 2000, bets) < 0.065


def test_a_mean_above_is_proven() -> None:
    assert ever_above(np.full(1000, 0.6), 0.5, 200, DEFAULT) > 0.95


def test_bets_near_an_expectation_are_split_once_too() -> None:
    bets = near_card()
    assert bets.prior.sum() == pytest.approx(1)
    assert bets.shares.shape == bets.prior.shape
    assert ((bets.shares > 0) & (bets.shares <= LARGEST)).all()


@pytest.mark.parametrize(("worse", "better"), [(0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.001, 0.001), (0.5, 0.5)])
def test_bets_near_any_expectation_can_be_made(worse: float, better: float) -> None:
    bets = near_card(worse, better)
    assert np.isfinite(evidence_above(tally({-1.0: 10, 0.0: 10, 1.0: 10}), -0.02, bets))


@given(COUNTS, st.floats(0, 0.3), st.floats(0, 0.3), st.floats(-0.5, 0.5))
def test_a_wrong_expectation_costs_at_most_log_2(
    counts: dict[float, int], worse: float, better: float, mean: float
) -> None:
    near, default = (evidence_above(tally(counts), mean, bets) for bets in (near_card(worse, better), DEFAULT))
    assert near >= default - log(2) - 1e-9


@pytest.mark.parametrize(("discordance", "most"), [(0.1, 1700), (0.02, 430), (0.0, 215)])
def test_bets_near_the_card_need_few_pairs_to_promote_an_equal_variant(discordance: float, most: int) -> None:
    """The median over 300 runs at a margin of 2 points, with alpha 0.05."""
    half = max(discordance, 0.002) / 2
    bets = near_card(half, half)
    rng = np.random.default_rng(9)
    drawn = rng.choice(3, size=(300, 4000), p=[discordance / 2, 1 - discordance, discordance / 2])
    counts = np.stack([(drawn == value).cumsum(axis=1) for value in range(3)], axis=-1)
    proven = log_wealth(TERNARY, counts, 0.49, bets) >= log(20)
    assert np.median(np.where(proven.any(axis=1), proven.argmax(axis=1) + 1, 10**6)) <= most


@given(COUNTS, st.integers(1, 50))
def test_outcomes_can_be_foretold_as_if_each_had_been_seen_more_often(counts: dict[float, int], times: int) -> None:
    more = tally({value: count * times for value, count in counts.items()})
    assert evidence_above(tally(counts), -0.1, times=times) == pytest.approx(evidence_above(more, -0.1))
    assert evidence_below(tally(counts), -0.1, times=times) == pytest.approx(evidence_below(more, -0.1))


def test_a_billion_outcomes_do_not_overflow() -> None:
    seen = tally({-1.0: 10**9, 0.0: 10**10, 1.0: 10**9})
    low, high = lower_bound(seen, 0.05), upper_bound(seen, 0.05)
    assert -0.001 < low < 0 < high < 0.001


def test_small_shares_make_the_interval_of_many_outcomes_narrow() -> None:
    seen = tally({-1.0: 10**8, 0.0: 10**9, 1.0: 10**8})
    assert upper_bound(seen, 0.05) - lower_bound(seen, 0.05) < 0.0005
