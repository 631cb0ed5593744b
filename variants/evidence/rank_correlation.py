"""Spearman's correlation of a model's cosines with what people said of the same pairs of texts (Cer et al. 2017, arXiv
1708.00055). It compares orders alone, so the scale of the scores has no effect.

The interval is a bootstrap over pairs (`variants.evidence.bootstrap`): many scores are equal, and Fisher's
transformation assumes none are.
"""

from collections.abc import Sequence

from variants.evidence import bootstrap
from variants.evidence.intervals import Interval


def measure(cosines: Sequence[float], scores: Sequence[float], *, seed: int = 0) -> Interval:
    """The correlation, -1 to 1, with its 95 % interval. Position i of both is the same pair.

    0 where all cosines are equal: they order nothing. ValueError where all scores are equal, where a number is not
    finite, or for other lengths.
    """
    return bootstrap.interval(_statistic(cosines, scores), len(scores), seed=seed)


def difference(ours: Sequence[float], theirs: Sequence[float], scores: Sequence[float], *, seed: int = 0) -> Interval:
    """Our correlation less theirs, with the 95 % interval of the paired difference. ValueError as for `measure`."""
    first, second = _statistic(ours, scores), _statistic(theirs, scores)
    return bootstrap.paired_difference(first, second, len(scores), seed=seed)


def _statistic(cosines: Sequence[float], scores: Sequence[float]) -> bootstrap.Statistic:
    import numpy as np
    from scipy.stats import spearmanr

    given, wanted = np.asarray(cosines, np.float64), np.asarray(scores, np.float64)
    if len(given) != len(wanted):
        raise ValueError(f"{len(given)} cosines for {len(wanted)} scores: need as many")
    if not (np.isfinite(given).all() and np.isfinite(wanted).all()):
        raise ValueError("a cosine or a score is not a finite number")
    if len(wanted) and np.ptp(wanted) == 0:
        raise ValueError("all scores are equal: there is no order to compare with")

    def correlation(counts: "np.ndarray") -> float:
        ours, theirs = given.repeat(counts), wanted.repeat(counts)
        # A draw of a few pairs may hold one score alone.
        return float(spearmanr(ours, theirs).statistic) if np.ptp(ours) > 0 and np.ptp(theirs) > 0 else 0.0

    return correlation
