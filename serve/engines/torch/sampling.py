"""The next token of each row from its logits: bias, temperature, top-p, seed, and log probabilities.

Every row has a generator of its own, so what a seed gives does not depend on who else is in the batch. Log
probabilities are the model's own, before bias and temperature, as vLLM reports them.
"""

from collections.abc import Sequence

import torch

from serve.engines.base import Generation, Place, Scored, Token

GREEDY_BELOW = 1e-5
"""Temperatures below this are greedy: dividing by them overflows."""
SLICE = 128
"""Places of a prompt that are scored at once: a float for each token of the vocabulary is held for each."""


class Sampler:
    """One request's way of choosing."""

    def __init__(self, request: Generation) -> None:
        self.request = request
        self.greedy = request.temperature < GREEDY_BELOW
        self.bias = (
            torch.tensor([token for token, _ in request.logit_bias], dtype=torch.long),
            torch.tensor([value for _, value in request.logit_bias], dtype=torch.float32),
        )
        self.generator = torch.Generator()
        if request.seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(request.seed % 2**63)

    def choose(self, logits: torch.Tensor) -> Token:
        """A token from logits [vocabulary] float32, which are changed; `finish` is left open."""
        own = logits.log_softmax(0) if self.request.top_logprobs is not None else None
        if self.request.logit_bias:
            logits.index_add_(0, *self.bias)
        token = int(logits.argmax()) if self.greedy else self.draw(logits)
        if own is None:
            return Token(token)
        values, ids = own.topk(self.request.top_logprobs or 0)
        top = tuple(zip(ids.tolist(), values.tolist(), strict=True))
        return Token(token, logprob=float(own[token]), top=top)

    def draw(self, logits: torch.Tensor) -> int:
        """From the smallest set of tokens whose probabilities reach top-p."""
        probabilities = (logits / self.request.temperature).softmax(0)
        if self.request.top_p < 1:
            ordered, ids = probabilities.sort(descending=True)
            before = ordered.cumsum(0) - ordered
            ordered[before >= self.request.top_p] = 0
            return int(ids[ordered.multinomial(1, generator=self.generator)])
        return int(probabilities.multinomial(1, generator=self.generator))


def score_prompt(prompt: Sequence[int], logits: torch.Tensor, alternatives: int) -> tuple[Place | None, ...]:
    """How likely each token of a prompt was after those before it, and the `alternatives` likeliest there; None for the
    first. `logits` [tokens, vocabulary] are those after each token of the prompt."""
    places: list[Place | None] = [None]
    for start in range(0, len(prompt) - 1, SLICE):
        own = torch.tensor(prompt[start + 1 : start + 1 + SLICE])
        scores = logits[start : start + len(own)].float().log_softmax(-1)
        mine = scores.gather(1, own[:, None])
        ranks = (scores > mine).sum(1) + 1
        values, ids = scores.topk(alternatives)
        for place in range(len(own)):
            first = Scored(int(own[place]), float(mine[place]), int(ranks[place]))
            likeliest = zip(ids[place].tolist(), values[place].tolist(), range(1, alternatives + 1), strict=True)
            others = (Scored(*each) for each in likeliest if each[0] != first.id)
            places.append((first, *others))
    return tuple(places)
