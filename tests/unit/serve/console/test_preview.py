"""Who moves: no more clients than the shares say, and only from a variant that lost to one that gained."""

import pytest

from serve.config.traffic import Traffic
from serve.console.preview import preview

KEY = b"secret"


def traffic(**weights: float) -> Traffic:
    return Traffic(weights=weights)


def test_from_90_to_50_moves_40_of_100() -> None:
    seen = preview("echo", traffic(baseline=90, int8=10), traffic(baseline=50, int8=50), KEY)
    assert [move[:2] for move in seen.moves] == [("baseline", "int8")]
    assert seen.moves[0][2] == pytest.approx(0.4, abs=0.04)
    assert seen.stay == pytest.approx(1 - seen.moves[0][2])


def test_the_same_shares_move_nobody() -> None:
    seen = preview("echo", traffic(baseline=90, int8=10), traffic(baseline=9, int8=1), KEY)
    assert (seen.moves, seen.stay, seen.pins) == ((), 1, ())


def test_pins_that_change_are_told() -> None:
    before = Traffic(weights={"a": 1, "b": 1}, pins={"alice": "a", "bob": "a", "carol": "b"})
    after = Traffic(weights={"a": 1, "b": 1}, pins={"alice": "b", "carol": "b", "dan": "a"})
    assert preview("echo", before, after, KEY).pins == (("alice", "a", "b"), ("bob", "a", None), ("dan", None, "a"))
