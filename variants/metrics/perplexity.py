"""Perplexity as a task's metric, from the answers to passages. Lower is better; no answer is right or wrong."""

from collections.abc import Sequence

from variants.evidence.intervals import Interval
from variants.evidence.perplexity import perplexity, perplexity_difference
from variants.metrics.base import Metric
from variants.metrics.outcome import Outcome
from variants.metrics.scoring import surprise


class Perplexity(Metric):
    """Perplexity per token of the model's own tokenizer."""

    def measure(self, outcomes: Sequence[Outcome]) -> Interval:
        nats, tokens = _read(outcomes)
        return perplexity(nats, tokens)

    def difference(self, ours: Sequence[Outcome], theirs: Sequence[Outcome]) -> Interval:
        """Our perplexity less theirs. ValueError where the numbers of tokens differ: so do the tokenizers."""
        (mine, tokens), (others, counted) = _read(ours), _read(theirs)
        if tokens != counted:
            raise ValueError("perplexities of different tokenizers do not compare")
        return perplexity_difference(mine, others, tokens)


def _read(outcomes: Sequence[Outcome]) -> tuple[list[float], list[int]]:
    read = [surprise(outcome.answer) for outcome in outcomes]
    return [nats for nats, _ in read], [tokens for _, tokens in read]


PERPLEXITY = Perplexity("perplexity", "", "lower")
