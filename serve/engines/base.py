"""What the text routes need of an engine: token ids in, token ids out, one async generator a request.

Decoding, stop strings, usage and JSON are the routes' business (`text_api`), so that an engine is only what
differs between engines: a tokenizer and a way to the next token.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from serve.engines.http.text_stream import Decoder

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Scored:
    """A token where it stands in a prompt, or one that might stand there: its natural log probability, the model's own,
    and its rank among all tokens there, 1 the likeliest."""

    id: int
    logprob: float
    rank: int


Place = tuple[Scored, ...]
"""What was asked about one place of a prompt: its own token first, then the likeliest that are not it."""


@dataclass(frozen=True)
class Generation:
    """One request as an engine sees it. `top_logprobs` None means no logprobs at all, 0 the token's own
    alone.

    `temperature` 0 is greedy. `seed` None draws one. `prompt_logprobs` None means none, 0 those of the prompt's own
    tokens alone, n the n likeliest at each place besides. `model` is the name that it was asked of: the base's or an
    adapter's."""

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    model: str = ""


@dataclass(frozen=True)
class Token:
    """One new token. `finish` is set on the last one; log probabilities are natural and the model's own,
    before bias and temperature. `end` marks an end-of-sequence token, which has no text. `prompt` comes with the first
    token where it was asked for: one entry a token of the prompt, None for the first, which nothing comes before."""

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    finish: Finish | None = None
    end: bool = False
    prompt: tuple[Place | None, ...] | None = None


class TextEngine(Protocol):
    """`context` is the most tokens of a prompt and its answer together; `vocabulary` bounds token ids; `longest` is the
    most characters that one token stands for. `encode` and `chat_text` are called from any thread."""

    context: int
    vocabulary: int
    longest: int

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of a text; `special` adds what the tokenizer puts around a text."""
        ...

    def chat_text(self, messages: Sequence[dict[str, str]]) -> str:
        """A conversation up to where the assistant's answer begins, to be encoded as it is. Raises InputError."""
        ...

    def decoder(self, prompt: Sequence[int]) -> Decoder:
        """A decoder for the answer to `prompt`."""
        ...

    def piece(self, token: int) -> bytes:
        """What one token stands for by itself, for logprobs."""
        ...

    def generate(self, request: Generation) -> AsyncGenerator[list[Token], None]:
        """The answer's tokens as they come, one or more at a time; closing the generator ends the work."""
        ...
