"""Planned arrivals are a Poisson process: counts and gaps as it has them, the same for the same seed,
bounded.
"""

import itertools
import random
import statistics

from loadtest.campaign.arrivals import poisson


def test_the_count_is_the_rate_times_the_time() -> None:
    times = poisson(50, 100, random.Random(1))
    # Mean 5,000 and standard deviation 70.7: four of them.
    assert abs(len(times) - 5000) < 283


def test_gaps_are_exponential() -> None:
    times = poisson(50, 200, random.Random(2))
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert abs(statistics.mean(gaps) - 0.02) < 0.001
    # An exponential's standard deviation is its mean; evenly spaced arrivals would have none.
    assert abs(statistics.pstdev(gaps) / statistics.mean(gaps) - 1) < 0.06
    # And e^-1 of its gaps are longer than the mean.
    assert abs(sum(gap > 0.02 for gap in gaps) / len(gaps) - 0.368) < 0.02


def test_times_ascend_within_the_stretch_and_repeat_with_the_seed() -> None:
    times = poisson(20, 10, random.Random(3))
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 10
    assert times == poisson(20, 10, random.Random(3))
    assert times != poisson(20, 10, random.Random(4))
