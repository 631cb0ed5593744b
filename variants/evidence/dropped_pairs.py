"""Whether dropped shadow pairs differ in prompt length from the kept ones.

Long requests wait longer, so they are dropped first. A compressed model may fail on exactly those. Then the kept pairs
would show it as better than it is. The rank test of H. B. Mann and D. R. Whitney 1947 compares the lengths, at a level
with few false alarms. A few dropped pairs change little, so they are not tested.
"""

from collections import Counter

import numpy as np

ALPHA = 0.001
FEW = 20


def differ(kept: Counter[int], dropped: Counter[int]) -> bool:
    """Whether the two distributions of lengths differ; False while there are fewer than `FEW` kept or dropped pairs.

    Each counter maps a length to its number of pairs.
    """
    if min(kept.total(), dropped.total()) < FEW:
        return False
    from scipy.stats import mannwhitneyu  # takes half a second, and is seldom needed

    samples = [np.repeat(list(counts), list(counts.values())) for counts in (kept, dropped)]
    return bool(mannwhitneyu(*samples).pvalue < ALPHA)
