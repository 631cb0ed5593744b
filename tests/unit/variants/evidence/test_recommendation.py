"""What is recommended, and when nothing can be told."""

import pytest

from variants.evidence.intervals import Interval
from variants.evidence.recommendation import (
    ONE,
    Candidate,
    product,
    recommend,
    share_by_quantiles,
    share_within,
    state_of,
)

BASELINE = Candidate("baseline", ONE, ONE, Interval(1, 0.97, 1))


def int8(**other: Interval | None) -> Candidate:
    figures = {"quality": Interval(0.995, 0.985, 1.005), "cost": Interval(0.6, 0.55, 0.65), "within": ONE}
    return Candidate("int8", **(figures | other))


def test_the_cheapest_that_fits_is_recommended() -> None:
    answer = recommend([BASELINE, int8()], 0.98, has_objective=True)
    assert (answer.variant, answer.tied, answer.open) == ("int8", (), ())
    assert answer.states["int8"] == {"quality": "holds", "objective": "holds"}


@pytest.mark.parametrize(
    "figures",
    [{"quality": Interval(0.9, 0.88, 0.92)}, {"within": Interval(0.5, 0.4, 0.6)}],
)
def test_one_that_fails_a_condition_is_not(figures: dict[str, Interval]) -> None:
    answer = recommend([BASELINE, int8(**figures)], 0.98, has_objective=True)
    assert (answer.variant, answer.open) == ("baseline", ())


@pytest.mark.parametrize(
    "figures",
    [{"quality": Interval(0.985, 0.97, 1.0)}, {"quality": None}, {"within": None}, {"within": Interval(1, 0.94, 1)}],
)
def test_one_whose_conditions_are_unknown_stays_open(figures: dict[str, Interval | None]) -> None:
    answer = recommend([BASELINE, int8(**figures)], 0.98, has_objective=True)
    assert (answer.variant, answer.open) == ("baseline", ("int8",))


def test_one_that_is_unknown_and_costs_more_is_not_named() -> None:
    dear = int8(quality=None, cost=Interval(1.4, 1.3, 1.5))
    assert recommend([BASELINE, dear], 0.98, has_objective=True).open == ()


def test_costs_that_overlap_cannot_be_told_apart() -> None:
    int4 = Candidate("int4", ONE, Interval(0.58, 0.5, 0.7), ONE)
    answer = recommend([BASELINE, int8(), int4], 0.98, has_objective=True)
    assert (answer.variant, set(answer.tied)) == (None, {"int8", "int4"})
    assert recommend([BASELINE, int8(cost=Interval(0.98, 0.9, 1.1))], 0.98, has_objective=True).variant is None


def test_nothing_fits() -> None:
    slow = Candidate("baseline", ONE, ONE, Interval(0.2, 0.1, 0.3))
    answer = recommend([slow, int8(within=Interval(0.95, 0.9, 0.99))], 0.98, has_objective=True)
    assert (answer.variant, answer.tied, answer.open) == (None, (), ("int8",))


def test_without_an_objective_only_quality_counts() -> None:
    answer = recommend([BASELINE, int8(within=None)], 0.98, has_objective=False)
    assert answer.variant == "int8"
    assert answer.states["int8"] == {"quality": "holds"}


def test_one_without_a_cost_is_never_chosen() -> None:
    assert recommend([BASELINE, int8(cost=None)], 0.98, has_objective=False).variant == "baseline"


def test_a_condition_holds_with_its_whole_interval() -> None:
    assert state_of(Interval(0.99, 0.98, 1), 0.98) == "holds"
    assert state_of(Interval(0.99, 0.97, 1), 0.98) == "cannot tell"
    assert state_of(Interval(0.9, 0.8, 0.97), 0.98) == "fails"
    assert state_of(None, 0.98) == "cannot tell"


def test_shares_of_a_chain_multiply() -> None:
    assert product(Interval(0.5, 0.4, 0.5), Interval(2, 1, 4)) == Interval(1, 0.4, 2)
    assert product(ONE, None) is None


def test_73_requests_in_time_prove_that_95_percent_are() -> None:
    assert state_of(share_within([0.1] * 72, 0.5), 0.95) == "cannot tell"
    assert state_of(share_within([0.1] * 73, 0.5), 0.95) == "holds"
    assert state_of(share_within([0.6] * 30, 0.5), 0.95) == "fails"
    assert share_within([], 0.5) is None


def test_quantiles_bound_the_share() -> None:
    quantiles = {0.5: 0.1, 0.95: 0.3, 0.99: 0.6}
    assert state_of(share_by_quantiles(quantiles, 1000, 0.7), 0.95) == "holds"
    assert state_of(share_by_quantiles(quantiles, 1000, 0.5), 0.95) == "cannot tell"
    assert state_of(share_by_quantiles(quantiles, 1000, 0.2), 0.95) == "cannot tell"
    assert state_of(share_by_quantiles(quantiles, 1000, 0.05), 0.95) == "fails"
    assert share_by_quantiles(quantiles, 0, 0.5) is None
