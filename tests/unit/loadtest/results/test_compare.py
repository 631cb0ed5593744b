"""Three states: faster needs every slice above every slice, better needs an interval that leaves out
nought.
"""

import pytest

from loadtest.results.compare import accuracy_difference, speed_ratio


def verdict(variant: list[float], parent: list[float]) -> str:
    ratio = speed_ratio("throughput_rps", variant, parent)
    assert ratio is not None
    return ratio.verdict


def test_the_median_and_the_spread_are_of_paired_slices() -> None:
    ratio = speed_ratio("output_tokens_per_s", [120.0, 130.0, 150.0], [100.0, 100.0, 100.0])
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high, ratio.slices) == (1.3, 1.2, 1.5, 3)
    # Both sides slow down together in the second slice: the ratio does not see it.
    drifting = speed_ratio("output_tokens_per_s", [120.0, 60.0, 120.0], [100.0, 50.0, 100.0])
    assert drifting is not None
    assert (drifting.low, drifting.high) == (1.2, 1.2)


@pytest.mark.parametrize(
    ("variant", "parent", "expected"),
    [
        ([130.0, 132.0, 128.0], [100.0, 101.0, 99.0], "faster"),
        ([70.0, 72.0, 71.0], [100.0, 101.0, 99.0], "slower"),
        ([130.0, 100.5, 128.0], [100.0, 101.0, 99.0], "cannot tell"),
        ([100.0, 101.0, 99.0], [100.0, 101.0, 99.0], "cannot tell"),
        ([101.6, 101.5, 101.7], [100.0, 101.0, 100.5], "cannot tell"),
    ],
)
def test_speed_has_three_states(variant: list[float], parent: list[float], expected: str) -> None:
    assert verdict(variant, parent) == expected


def test_no_slices_no_ratio() -> None:
    assert speed_ratio("throughput_rps", [], []) is None
    assert speed_ratio("throughput_rps", [1.0], [0.0]) is None


def outcomes(right: int, n: int = 200) -> dict[str, bool]:
    return {f"example-{index}": index < right for index in range(n)}


@pytest.mark.parametrize(
    ("variant", "parent", "expected"), [(120, 160, "worse"), (160, 120, "better"), (158, 160, "cannot tell")]
)
def test_accuracy_has_three_states(variant: int, parent: int, expected: str) -> None:
    difference = accuracy_difference("made", outcomes(variant), outcomes(parent))
    assert difference is not None
    assert difference.verdict == expected
    assert difference.difference == pytest.approx((variant - parent) / 200)
    assert difference.low < difference.difference < difference.high


def test_only_examples_that_both_answered_count() -> None:
    variant, parent = outcomes(150), outcomes(150)
    del variant["example-0"]
    difference = accuracy_difference("made", variant, parent)
    assert difference is not None
    assert difference.n == 199
    assert accuracy_difference("made", {"one": True}, {"other": True}) is None
