"""The Frechet distance between the features of generated and of real pictures (Heusel et al. 2017, arXiv 1706.08500).

Each set of features is taken for a normal distribution. Heusel et al. use the features of Inception. Distances over
other features compare only with distances over the same features. The distance is biased upwards, and more so with
fewer pictures (Binkowski et al. 2018, arXiv 1801.01401). So only distances of equal n compare.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def frechet_distance(one: "npt.NDArray[np.floating]", other: "npt.NDArray[np.floating]") -> float:
    """The squared distance |m1 - m2|^2 + Tr(C1 + C2 - 2 (C1 C2)^1/2) of features [n, d] and [m, d]; at least 0.

    ValueError unless both have the same d, and at least two rows.
    """
    import numpy as np

    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1] or min(len(one), len(other)) < 2:
        raise ValueError(f"features of shapes {one.shape} and {other.shape}: need [n, d] and [m, d], n and m above 1")
    first, second = one.astype(np.float64), other.astype(np.float64)
    apart = first.mean(axis=0) - second.mean(axis=0)
    spreads = np.atleast_2d(np.cov(first, rowvar=False)), np.atleast_2d(np.cov(second, rowvar=False))
    # C1 C2 has the eigenvalues of the symmetric C1^1/2 C2 C1^1/2. These are real, and precise where C1 is singular, as
    # with a feature that is always zero. scipy's sqrtm of C1 C2 is imprecise there.
    values, vectors = np.linalg.eigh(spreads[0])
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ spreads[1] @ root), 0)).sum()
    return max(0.0, float(apart @ apart + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * shared))
