from collections import Counter

import numpy as np
from variants.evidence.dropped_pairs import differ


def lengths(mean: float, n: int, seed: int) -> Counter[int]:
    return Counter(np.random.default_rng(seed).poisson(mean, n).tolist())


def test_long_ones_that_were_dropped_are_noticed() -> None:
    assert differ(lengths(100, 900, 0), lengths(120, 60, 1))
    assert not differ(lengths(100, 900, 0), lengths(100, 60, 1))


def test_of_few_nothing_is_said() -> None:
    assert not differ(lengths(100, 900, 0), lengths(500, 10, 1))
    assert not differ(Counter(), Counter())
