"""How much two models agree about one answer.

For text, both models score the same answer as a prompt, and the scores are compared position by position. The texts
that the models write by themselves are compared in `variants.evidence.free_running`. Positions count in the mean of
their answer alone, so a long answer weighs as much as a short one.

An engine gives only the most likely tokens of each position. So the divergence is computed over the tokens that both
models name, and one group of all others. Merging outcomes can only lower a Kullback-Leibler divergence (S. Kullback
and R. A. Leibler 1951, on sufficiency), so the result is a lower bound.
"""

from collections.abc import Mapping, Sequence
from math import exp, log

Distribution = Mapping[int, float]
"""Natural logarithms of probabilities by token id, the most likely token among them."""
LEAST = 1e-9
"""Smaller probabilities are taken for this one, so that logarithms are finite."""


def argmax_agreement(one: Sequence[Distribution], other: Sequence[Distribution]) -> float:
    """The share of positions with the same most likely token. ValueError unless both have equally many, one or more."""
    check(one, other)
    return sum(top(a) == top(b) for a, b in zip(one, other, strict=True)) / len(one)


def divergence(one: Sequence[Distribution], other: Sequence[Distribution]) -> float:
    """A lower bound of the mean over positions of KL(one || other), in nats. ValueError as above."""
    check(one, other)
    return sum(divergence_at(a, b) for a, b in zip(one, other, strict=True)) / len(one)


def divergence_at(one: Distribution, other: Distribution) -> float:
    """A lower bound of KL(one || other) at one position, in nats."""
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
