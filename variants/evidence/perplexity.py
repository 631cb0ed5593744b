"""Perplexity: exp of the mean surprise of a token, in nats, over passages of held-out text, with an interval.

Tokens of one passage are alike, so passages are what is drawn: the mean is a ratio of two sums over them, its standard
error that of the linearised ratio (W. G. Cochran 1977, Sampling Techniques, chapter 6), and the interval Student's with
as many degrees of freedom as there are passages, less one. For a difference of two variants on the same passages their
linearised terms are subtracted passage by passage, which takes out how hard each passage is. Only variants with one
tokenizer compare: a perplexity is per token.
"""

from collections.abc import Sequence
from math import exp, sqrt

from variants.evidence.intervals import Interval


def perplexity(nats: Sequence[float], tokens: Sequence[int], confidence: float = 0.95) -> Interval:
    """Of passages of `tokens` tokens with a surprise of `nats` each. ValueError with fewer than two passages, or one
    without tokens."""
    mean, terms = _linearised(nats, tokens)
    reach = _reach(terms, confidence)
    return Interval(exp(mean), exp(mean - reach), exp(mean + reach))


def perplexity_difference(
    ours: Sequence[float], theirs: Sequence[float], tokens: Sequence[int], confidence: float = 0.95
) -> Interval:
    """Our perplexity less theirs; position i of all three is the same passage. ValueError as above."""
    (mine, my_terms), (other, other_terms) = _linearised(ours, tokens), _linearised(theirs, tokens)
    terms = [exp(mine) * a - exp(other) * b for a, b in zip(my_terms, other_terms, strict=True)]
    difference, reach = exp(mine) - exp(other), _reach(terms, confidence)
    return Interval(difference, difference - reach, difference + reach)


def _linearised(nats: Sequence[float], tokens: Sequence[int]) -> tuple[float, list[float]]:
    """The mean surprise of a token, and by how much each passage moves it."""
    if len(nats) != len(tokens) or len(nats) < 2 or min(tokens) < 1:
        raise ValueError(f"{len(nats)} surprises of {len(tokens)} passages: need two or more, none without tokens")
    total = sum(tokens)
    mean = sum(nats) / total
    return mean, [(each - mean * count) / total for each, count in zip(nats, tokens, strict=True)]


def _reach(terms: Sequence[float], confidence: float) -> float:
    from scipy.special import stdtrit  # here, for a server needs no Student's t

    n = len(terms)
    return float(stdtrit(n - 1, 0.5 + confidence / 2)) * sqrt(n / (n - 1) * sum(term * term for term in terms))
