"""How likely a text is to an engine, over HTTP: the sum of its tokens' log probabilities, each after all before it.

Asked as `prompt_logprobs` of a completion, which costs one pass over the prompt; vLLM answers it and so do our own
engines. Choices are judged by the likelihood of each ending as a whole, not by its length: what lm-evaluation-harness
calls `acc`. Passages are only measured: how surprising, over how many tokens.
"""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp

from serve.evaluation.engine_client import answered
from variants.errors import EngineError
from variants.metrics.scoring import surprise_of
from variants.tasks import Example


@dataclass(frozen=True)
class Likelihood:
    """Asks the model `name` at `url`."""

    session: aiohttp.ClientSession
    url: str
    name: str

    async def tokens(self, text: str) -> int:
        """How many tokens a text is, with what the tokenizer puts around one."""
        found, _ = await answered(self.session.post(f"{self.url}/tokenize", json={"model": self.name, "prompt": text}))
        return int(json.loads(found)["count"])

    async def logprobs(self, text: str) -> list[float]:
        """Of every token of a text but the first, in nats. EngineError where the engine gives none."""
        body = {"model": self.name, "prompt": text, "max_tokens": 1, "temperature": 0, "prompt_logprobs": 0}
        found, _ = await answered(self.session.post(f"{self.url}/v1/completions", json=body))
        places = json.loads(found)["choices"][0].get("prompt_logprobs")
        if not places:
            raise EngineError(f"{self.name} gave no prompt_logprobs", mend="serve it by vllm or torch")
        return [float(own["logprob"]) for place in places[1:] for own in place.values()]

    async def ending(self, context: str, ending: str) -> float:
        """The log probability, in nats, of `ending` after `context`: of all tokens after as many as the context has by
        itself."""
        count = await self.tokens(context)
        return sum((await self.logprobs(context + ending))[count - 1 :])


def choice_predictor(ask: Likelihood) -> Callable[[Example], Awaitable[str]]:
    """The place, from 0, of the likeliest ending; the first of equals."""

    async def predict(example: Example) -> str:
        assert isinstance(example.input, tuple)
        context, *endings = example.input
        scores = [await ask.ending(context, ending) for ending in endings]
        return str(_first_highest(scores))

    return predict


def passage_predictor(ask: Likelihood) -> Callable[[Example], Awaitable[str]]:
    """What `variants.metrics.scoring` reads back as a passage's surprise."""

    async def predict(example: Example) -> str:
        logprobs = await ask.logprobs(str(example.input))
        return surprise_of(-sum(logprobs), len(logprobs))

    return predict


def _first_highest(scores: Sequence[float]) -> int:
    return max(range(len(scores)), key=scores.__getitem__)
