from itertools import product
from math import exp

import numpy as np
import pytest

from variants.evidence.sample_ratio import MOST_CLIENTS, MOST_HOURS, NAMED, Departures, SampleRatio, Source


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


HALF = {"a": 1.0, "b": 1.0}


def test_what_departs_most_is_named() -> None:
    """One client of a key gets `b` for an hour; all others follow the weights."""
    test = SampleRatio()

    def count(source: Source, counts: dict[str, int]) -> None:
        test.add(counts, HALF)
        test.departures.add(source, counts, HALF)

    assert test.departures.worst() is None
    for hour in range(10):
        count(Source("calm", "c1", "weight", hour), {"a": 50, "b": 50})
        count(Source("", NAMED, "sticky", hour), {"a": 20, "b": 20})
    assert test.departs() is None
    for _ in range(4):
        count(Source("team", "c2", "weight", 7), {"b": 60})
    worst = test.departs()
    assert worst is not None
    told = worst.to_json()
    assert told["client"] == {"key": "team", "name": "c2", "seen": {"b": 240}, "due": {"a": 120.0, "b": 120.0}}
    assert told["reason"] == {
        "reason": "weight", "seen": {"a": 500, "b": 740}, "due": {"a": 620.0, "b": 620.0}
    }  # fmt: skip
    assert told["hour"] == {
        "hour": "1970-01-01 07:00 UTC", "seen": {"a": 70, "b": 310}, "due": {"a": 190.0, "b": 190.0}
    }  # fmt: skip
    assert worst.describe() == (
        "most of all the key team, the client c2 (a 0 of 120 due, b 240 of 120 due), "
        "the reason weight (a 500 of 620 due, b 740 of 620 due), "
        "the hour from 1970-01-01 07:00 UTC (a 70 of 190 due, b 310 of 190 due)"
    )


def test_an_assignment_without_any_weight_departs_most() -> None:
    departures = Departures()
    departures.add(Source("", "many", "weight", 0), {"a": 40, "b": 60}, HALF)
    departures.add(Source("", "one", "weight", 0), {"b": 1}, {"a": 1.0, "b": 0.0})
    worst = departures.worst()
    assert worst is not None
    assert worst.client[0] == ("", "one")


def test_departures_keep_the_frequent_clients_and_the_latest_hours() -> None:
    """One client brings a hundredth of the assignments, among ten thousand clients that come once."""
    departures = Departures()
    for number in range(10_000):
        departures.add(Source("", f"once {number}", "weight", number // 50), {"a": 1}, HALF)
        if number % 100 == 0:
            departures.add(Source("", "often", "weight", number // 50), {"b": 1}, HALF)
    assert len(departures.clients) == MOST_CLIENTS
    assert ("", "often") in departures.clients
    assert set(departures.hours) == set(range(200 - MOST_HOURS, 200))
