import numpy as np
import pytest
from variants.evidence.skipped_lengths import FEW, KINDS, SkippedLengths


def lengths(compared: list[int], skipped: list[int]) -> SkippedLengths:
    """The compared requests, and after each two of them a skipped one."""
    seen, left = SkippedLengths(), iter(skipped)
    for number, length in enumerate(compared):
        seen.add_compared(length)
        if number % 2 and number > 2 * FEW and (one := next(left, None)) is not None:
            seen.add_skipped(one)
    return seen


def poisson(mean: float, n: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).poisson(mean, n).tolist()


@pytest.mark.parametrize("mean", [80, 120])
def test_longer_or_shorter_requests_that_were_skipped_are_noticed(mean: int) -> None:
    assert lengths(poisson(100, 900, 0), poisson(mean, 200, 1)).differ()


def test_false_alarms_are_rare_however_often_one_looks() -> None:
    """Wrong with probability at most 0.002; a twentieth more long ones is tolerated."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(100):
        seen = lengths(rng.integers(0, 1000, 100).tolist(), [])
        for length in rng.integers(45, 1000, 150).tolist():
            seen.add_skipped(length)
            wrong += seen.longer.n % 30 == 0 and seen.differ()
    assert wrong == 0


def test_of_few_nothing_is_said() -> None:
    assert not SkippedLengths().differ()
    assert not lengths(poisson(100, 900, 0), [500] * (FEW - 1)).differ()
    early = SkippedLengths()
    for _ in range(FEW - 1):
        early.add_compared(100)
    early.add_skipped(500)
    assert early.longer.n == 0


def test_requests_of_one_length_do_not_differ() -> None:
    seen = lengths([100] * 900, [100] * 400)
    assert (seen.longer.mean, seen.differ()) == (0.5, False)


def test_a_skipped_request_is_compared_with_the_median_of_that_moment() -> None:
    seen = SkippedLengths()
    for length in [10] * FEW + [30] * 5:
        seen.add_compared(length)
    assert seen.median() == 10
    seen.add_skipped(20)
    for _ in range(FEW):
        seen.add_compared(30)
    assert seen.median() == 30
    seen.add_skipped(20)
    assert seen.longer.counts == {1.0: 1, 0.0: 1}
    with pytest.raises(ValueError, match="no request was compared"):
        SkippedLengths().median()


def test_any_number_of_lengths_takes_constant_memory() -> None:
    seen = SkippedLengths()
    for length in range(2 * KINDS):
        seen.add_compared(length)
    assert len(seen.compared) == KINDS
    seen.add_compared(0)
    assert seen.compared[0] == 2
