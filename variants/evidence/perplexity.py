"""Perplexity of passages of held-out text, with a 95 % interval: exp of the mean surprise of a token, in nats.

Tokens of one passage are alike, so passages are the sampling unit. The mean is a ratio of two sums over passages. Its
standard error is that of the linearised ratio (W. G. Cochran 1977, Sampling Techniques, chapter 6). The interval is
Student's, with one degree of freedom fewer than there are passages.

For two variants on the same passages, the linearised terms are subtracted passage by passage. This removes how hard
each passage is. Perplexity is per token, so only variants with the same tokenizer compare.
"""

from collections.abc import Sequence
from math import exp, sqrt

from variants.evidence.intervals import Interval


def perplexity(nats: Sequence[float], tokens: Sequence[int]) -> Interval:
    """The perplexity of passages. `nats[i]` is the surprise of passage i, `tokens[i]` its number of tokens.

    ValueError with fewer than two passages, or a passage without tokens.
    """
    mean, terms = _linearised(nats, tokens)
    reach = _reach(terms)
    return Interval(exp(mean), exp(mean - reach), exp(mean + reach))


def perplexity_difference(ours: Sequence[float], theirs: Sequence[float], tokens: Sequence[int]) -> Interval:
    """Our perplexity less theirs. Position i of all three is the same passage. ValueError as for `perplexity`."""
    (mine, my_terms), (other, other_terms) = _linearised(ours, tokens), _linearised(theirs, tokens)
    terms = [exp(mine) * a - exp(other) * b for a, b in zip(my_terms, other_terms, strict=True)]
    difference, reach = exp(mine) - exp(other), _reach(terms)
    return Interval(difference, difference - reach, difference + reach)


def _linearised(nats: Sequence[float], tokens: Sequence[int]) -> tuple[float, list[float]]:
    """The mean surprise of a token, and the linearised term of each passage."""
    if len(nats) != len(tokens) or len(nats) < 2 or min(tokens) < 1:
        raise ValueError(f"{len(nats)} surprises of {len(tokens)} passages: need two or more, none without tokens")
    total = sum(tokens)
    mean = sum(nats) / total
    return mean, [(each - mean * count) / total for each, count in zip(nats, tokens, strict=True)]


def _reach(terms: Sequence[float]) -> float:
    """Half of the width of Student's 95 % interval."""
    from scipy.special import stdtrit  # not at the top: a server does not need it

    n = len(terms)
    return float(stdtrit(n - 1, 0.975)) * sqrt(n / (n - 1) * sum(term * term for term in terms))
