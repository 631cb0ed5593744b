import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from variants.evidence.intervals import paired_difference, wilson

OUTCOMES = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(right: int, n: int, low: float, high: float) -> None:
    """R. G. Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3."""
    interval = wilson(right, n)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 5000), st.data())
def test_wilson_holds_its_value(n: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, n))
    interval, other = wilson(right, n), wilson(n - right, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(1 - other.high)


@pytest.mark.parametrize(("right", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_wilson_refuses_what_is_no_share(right: int, n: int) -> None:
    with pytest.raises(ValueError, match="need 0 <= right <= n"):
        wilson(right, n)


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[list[bool], list[bool]]:
    pairs = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second + [(False, False)] * neither
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_a_large_table_agrees_with_the_textbook() -> None:
    """A. Agresti, Categorical Data Analysis, table 10.1: approval of the prime minister, 944 then 880 of 1,600; the
    difference is -0.04 with 95 % limits -0.06 and -0.02."""
    second, first = outcomes(794, 150, 86, 570)
    interval = paired_difference(first, second)
    assert interval.value == pytest.approx(-0.04)
    assert interval.low == pytest.approx(-0.06, abs=0.0015)
    assert interval.high == pytest.approx(-0.02, abs=0.0015)


@given(OUTCOMES)
def test_a_difference_is_inside_its_limits_and_turns_with_its_arguments(pairs: list[tuple[bool, bool]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    interval, turned = paired_difference(first, second), paired_difference(second, first)
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(-turned.high)
    assert interval.high == pytest.approx(-turned.low)


def test_no_disagreement_is_not_certainty() -> None:
    interval = paired_difference(*outcomes(30, 0, 0, 0))
    assert interval.value == 0
    assert interval.low < -0.05
    assert interval.high > 0.05


@pytest.mark.parametrize(("n", "joint"), [(60, (0.6, 0.1, 0.15, 0.15)), (200, (0.9, 0.03, 0.05, 0.02))])
def test_it_covers_the_truth_about_19_times_in_20(n: int, joint: tuple[float, ...]) -> None:
    draw = random.Random(7)
    truth, covered, rounds = joint[1] - joint[2], 0, 2000
    kinds = [(True, True), (True, False), (False, True), (False, False)]
    for _ in range(rounds):
        pairs = draw.choices(kinds, joint, k=n)
        interval = paired_difference([a for a, _ in pairs], [b for _, b in pairs])
        covered += interval.low <= truth <= interval.high
    assert 0.935 <= covered / rounds <= 0.985


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="the same examples"):
        paired_difference([True], [])
    with pytest.raises(ValueError, match="at least one"):
        paired_difference([], [])
