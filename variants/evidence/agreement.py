"""How much two models agree about one answer. Pure; what is compared stands in each function.

Text is compared position by position on the same answer, scored by both models as a prompt, so that no difference in
what they would have written has to be explained away. An engine gives each position's most likely tokens only, so the
divergence is taken over those that both name and one bucket for all the rest: merging outcomes can only lower a
Kullback-Leibler divergence (S. Kullback and R. A. Leibler 1951, on sufficiency), so this is a lower bound.
"""

from collections.abc import Mapping, Sequence
from math import exp, log

Distribution = Mapping[int, float]
"""Log probabilities of some tokens, the most likely among them."""
LEAST = 1e-9


def argmax_agreement(one: Sequence[Distribution], other: Sequence[Distribution]) -> float:
    """The share of positions at which both hold the same token most likely. ValueError for other or no positions."""
    check(one, other)
    return sum(top(a) == top(b) for a, b in zip(one, other, strict=True)) / len(one)


def divergence(one: Sequence[Distribution], other: Sequence[Distribution]) -> float:
    """The mean over positions of KL(one || other) in nats, at least."""
    check(one, other)
    return sum(divergence_at(a, b) for a, b in zip(one, other, strict=True)) / len(one)


def divergence_at(one: Distribution, other: Distribution) -> float:
    both = one.keys() & other.keys()
    shared = sum(exp(one[token]) * (one[token] - other[token]) for token in both)
    rest = (
        max(LEAST, 1 - sum(exp(one[token]) for token in both)),
        max(LEAST, 1 - sum(exp(other[token]) for token in both)),
    )
    return max(0.0, shared + rest[0] * (log(rest[0]) - log(rest[1])))


def top(distribution: Distribution) -> int:
    return max(distribution, key=lambda token: distribution[token])


def class_divergence(one: Sequence[float], other: Sequence[float]) -> float:
    """KL(one || other) in nats of two lists of class probabilities. ValueError for other lengths or none."""
    check(one, other)
    pairs = zip(one, other, strict=True)
    return max(0.0, sum(p * (log(max(p, LEAST)) - log(max(q, LEAST))) for p, q in pairs if p > 0))


def check(one: Sequence[object], other: Sequence[object]) -> None:
    if len(one) != len(other) or not one:
        raise ValueError(f"{len(one)} and {len(other)} positions: need the same, and at least one")
