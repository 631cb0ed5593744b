"""Bootstrap intervals, for statistics that are not a mean of one outcome an example: mAP, F-measures over all, ranks.

Percentile intervals over seeded resamples of the examples (Efron and Tibshirani 1993, chapter 13; 14.5 for why a
statistic of ranks has no simpler one). A statistic is a function of how often each example was drawn, so the costly
part, matching boxes, is done once. Two variants on the same examples are resampled together: what an example does to
both cancels. One look at a fixed number of examples, as with `intervals`; with fewer than some 30 examples percentiles
are too narrow. A mean of outcomes needs none of this: `mean` is here for outcomes that are neither right nor wrong.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from variants.evidence.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Statistic = Callable[["npt.NDArray[np.int64]"], float]
"""How often each example was drawn, int64 [n], to a figure; all ones is the sample itself."""
RESAMPLES = 1000


def interval(
    statistic: Statistic, n: int, *, seed: int = 0, resamples: int = RESAMPLES, confidence: float = 0.95
) -> Interval:
    """The statistic of `n` examples with its percentile interval. ValueError unless n and resamples are positive."""
    import numpy as np

    if n <= 0 or resamples <= 0:
        raise ValueError(f"{n} examples, {resamples} resamples: need at least one of each")
    value = statistic(np.ones(n, np.int64))
    return _percentiles(value, [statistic(counts) for counts in draws(n, seed, resamples)], confidence)


def paired_difference(
    first: Statistic,
    second: Statistic,
    n: int,
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
) -> Interval:
    """How much larger the statistic is for `first` than for `second`, both of the same `n` examples in one order."""
    return interval(
        lambda counts: first(counts) - second(counts), n, seed=seed, resamples=resamples, confidence=confidence
    )


def mean(outcomes: Sequence[float]) -> Statistic:
    """The mean of one outcome an example, as a statistic."""
    import numpy as np

    values = np.asarray(outcomes, np.float64)
    return lambda counts: float(counts @ values / counts.sum())


def draws(n: int, seed: int, resamples: int) -> "Iterator[npt.NDArray[np.int64]]":
    """`resamples` times, how often each of `n` examples is drawn when n are drawn with replacement: int64 [n]."""
    import numpy as np

    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, n, n), minlength=n)


def _percentiles(value: float, figures: Sequence[float], confidence: float) -> Interval:
    """Percentiles of the resampled figures, widened to hold the value itself, which ties may leave outside."""
    import numpy as np

    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: need a number between 0 and 1")
    low, high = np.quantile(figures, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, min(float(low), value), max(float(high), value))
