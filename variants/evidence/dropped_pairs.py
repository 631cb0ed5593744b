"""Whether shadow pairs that were dropped are like those that were kept.

Long requests wait longer and are dropped first, and a compressed model may fail on just those: what is left would judge
it too kindly. The lengths of both are compared by the rank test of H. B. Mann and D. R. Whitney 1947, at a level that a
quarrel about nothing seldom reaches; with few drops there is little to be kind about, and nothing is said.
"""

from collections import Counter

import numpy as np

ALPHA = 0.001
FEW = 20


def differ(kept: Counter[int], dropped: Counter[int]) -> bool:
    """Whether lengths, counted by value, are of two kinds; False while there are under `FEW` of one of them."""
    if min(kept.total(), dropped.total()) < FEW:
        return False
    from scipy.stats import mannwhitneyu  # half a second, and seldom needed

    samples = [np.repeat(list(counts), list(counts.values())) for counts in (kept, dropped)]
    return bool(mannwhitneyu(*samples).pvalue < ALPHA)
