from itertools import product
from math import prod

import numpy as np
import pytest

from variants.evidence import detector as detector_module
from variants.evidence.betting import Tally, is_above
from variants.evidence.detector import MOST, Detector

ALPHA = 0.05


@pytest.mark.parametrize("limit", [0.05, 0.3, 0.5])
def test_wealth_is_a_mixture_of_fair_bets(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over every sequence of n outcomes at the limit, the wealth is 1 - 1 / (begun + 1) on average: bets that begin
    later keep the rest."""
    monkeypatch.setattr(detector_module, "APART", 2)
    n, begun = 5, 3
    total = 0.0
    for outcomes in product((0, 1), repeat=n):
        detector = Detector()
        for each in outcomes:
            detector.peak = 0.0  # so that it is the present wealth
            detector.add(each, limit)
        total += prod(limit if each else 1 - limit for each in outcomes) * detector.peak
    assert total == pytest.approx(1 - 1 / (begun + 1))


@pytest.mark.parametrize("limit", [0.02, 0.5])
def test_false_alarms_over_all_outcomes_are_within_alpha(limit: float) -> None:
    """At the limit itself. With 0.05, 20 of 200 runs have a probability of 0.002."""
    rng = np.random.default_rng(1)
    raised = 0
    for _ in range(200):
        detector = Detector()
        for each in (rng.random(200) < limit).tolist():
            detector.add(each, limit)
        raised += detector.has_raised(ALPHA)
    assert raised < 20


def test_a_limit_may_differ_from_outcome_to_outcome() -> None:
    rng = np.random.default_rng(2)
    raised = 0
    for _ in range(100):
        detector = Detector()
        for limit in rng.uniform(0.01, 0.9, 200):
            detector.add(float(rng.random() < limit), float(limit))
        raised += detector.has_raised(ALPHA)
    assert raised < 13


def test_harm_is_detected_after_ten_thousand_clean_outcomes() -> None:
    """The mean of all outcomes stays below the limit for long, so a bet on it says nothing yet."""
    rng = np.random.default_rng(3)
    detector, tally = Detector(), Tally(0.0, 1.0)
    for _ in range(10_000):
        detector.add(0.0, 0.02)
    assert not detector.has_raised(ALPHA)
    needed = 0
    while not detector.has_raised(ALPHA):
        needed += 1
        failed = float(rng.random() < 0.2)
        detector.add(failed, 0.02)
        tally.add(failed)
    assert needed < 150
    assert tally.mean * tally.n / (10_000 + needed) < 0.02 / 4
    assert not is_above(tally.with_more(0.0, 10_000), 0.02, ALPHA)


def test_harm_that_was_detected_stays_detected() -> None:
    detector = Detector()
    for value in [1.0] * 20 + [0.0] * 5000:
        detector.add(value, 0.1)
    assert detector.has_raised(ALPHA)
    assert not detector.has_raised(1e-40)


def test_without_harm_nothing_is_raised_and_nothing_overflows() -> None:
    detector = Detector()
    assert not detector.has_raised(0.999)
    for _ in range(20_000):
        detector.add(0.0, 0.999)
    assert not detector.has_raised(ALPHA)
    for _ in range(20_000):
        detector.add(1.0, 0.001)
    assert detector.has_raised(1e-90)
    for _ in range(20_000):
        detector.add(0.0, 0.5)
    assert detector.has_raised(1e-90)
    assert (detector.n, detector.peak) == (60_000, MOST)


@pytest.mark.parametrize(
    ("value", "limit"), [(-0.1, 0.5), (1.1, 0.5), (float("nan"), 0.5), (0.5, 0.0), (0.5, 1.0), (0.5, float("nan"))]
)
def test_refuses_what_is_no_outcome_or_no_limit(value: float, limit: float) -> None:
    detector = Detector()
    with pytest.raises(ValueError, match="a limit between"):
        detector.add(value, limit)
    assert detector == Detector()
