"""Bootstrap intervals for statistics that are not a mean of one outcome per example, such as mAP and macro-F1.

The intervals are percentiles over seeded resamples of the examples (Efron and Tibshirani 1993, chapter 13; 14.5 for why
a statistic of ranks has no simpler one). A statistic is a function of how often each example was drawn. So its
expensive part, matching boxes, is done once. Two variants on the same examples are resampled together: the effect of an
example on both cancels.

As with `intervals`, an interval is valid for one look at a fixed number of examples. With fewer than about 30 examples
percentiles are too narrow. `mean` is for outcomes between right and wrong; shares of right answers have `intervals`.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from variants.evidence.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Statistic = Callable[["npt.NDArray[np.int64]"], float]
"""Maps how often each example was drawn, int64 [n], to a figure. All ones stand for the sample itself."""
RESAMPLES = 1000


def interval(statistic: Statistic, n: int, *, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """The statistic of `n` examples with its 95 % interval. ValueError unless n and resamples are positive."""
    import numpy as np

    if n <= 0 or resamples <= 0:
        raise ValueError(f"{n} examples, {resamples} resamples: need at least one of each")
    value = statistic(np.ones(n, np.int64))
    resampled = [statistic(counts) for counts in draws(n, seed, resamples)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    # Ties may leave the value itself outside the percentiles.
    return Interval(value, min(float(low), value), max(float(high), value))


def paired_difference(
    first: Statistic, second: Statistic, n: int, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """How much larger `first` is than `second`; both are of the same `n` examples in the same order."""
    return interval(lambda counts: first(counts) - second(counts), n, seed=seed, resamples=resamples)


def mean(outcomes: Sequence[float]) -> Statistic:
    """The mean of one outcome per example, as a statistic."""
    import numpy as np

    values = np.asarray(outcomes, np.float64)
    return lambda counts: float(counts @ values / counts.sum())


def draws(n: int, seed: int, resamples: int) -> "Iterator[npt.NDArray[np.int64]]":
    """`resamples` times, how often each of `n` examples occurs among n draws with replacement: int64 [n]."""
    import numpy as np

    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(0, n, n), minlength=n)
