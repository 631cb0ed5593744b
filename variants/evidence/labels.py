"""Whether the labels of live requests can show harm at all (assay sensitivity).

Two models that are always wrong lose nothing to each other. So a verdict by labels first proves that they tell right
from wrong: the mean contrast (`variants.evidence.paired`) is above 0. Then it holds the margin relative to the
contrast, because junk among the labels hides a loss to the same degree. The reference is the parent's contrast on its
card. Without a card it is 1, the largest that there is. Then the margin can only become stricter.

Assay sensitivity: ICH E10 2000, "Choice of control group in clinical trials", on non-inferiority.
"""

from variants.evidence.betting import DEFAULT, Bets, is_above, lower_bound
from variants.evidence.paired import Paired


def labels_missing(
    quality: Paired, delta: float | None, on_card: float | None, alpha: float, bets: Bets = DEFAULT
) -> list[str]:
    """Why a verdict by labels cannot promote yet. Empty where the labels are shown to tell right from wrong, and the
    margin `delta`, if there is one, holds relative to them. `on_card` is the parent's contrast there, `bets` those of
    the paired difference."""
    contrast = quality.contrast()
    if not contrast.n:
        return ["labels: no request yet whose answer was also scored by another request's label"]
    if not is_above(contrast, 0.0, alpha):
        return [
            "inconclusive: these labels do not tell right from wrong. The parent scores "
            f"{contrast.mean:+.3f} more by a request's own label than by another's "
            f"(n {contrast.n}, at least {lower_bound(contrast, alpha):.3f})"
        ]
    if delta is None:
        return []
    reference = on_card if on_card is not None else 1.0
    if delta > 0 and not is_above(quality.relative(delta, reference), 0.0, alpha, bets):
        where = (
            f"{reference:.3f} on its card"
            if on_card is not None
            else "at most 1, as no card says more: run understudy evaluate"
        )
        return [
            f"labels: the margin is held relative to what they tell: {contrast.mean:.3f} live, {where}. Not yet shown"
        ]
    return []
