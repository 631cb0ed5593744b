"""Log probabilities as an answer shows them: of new tokens, and of the prompt's own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from serve.engines.base import Place, Token
from serve.engines.http.text_response import TokenLogprob, show


@dataclass(frozen=True)
class Shower:
    """Writes tokens by their text, or by their id where `by_id`. `piece` gives a token's bytes."""

    piece: Callable[[int], bytes]
    by_id: bool = False

    def token(self, token: int) -> str:
        return f"token_id:{token}" if self.by_id else show(self.piece(token))

    def new(self, token: Token) -> TokenLogprob:
        """Of a token of the answer."""
        return self.entry(token.id, token.logprob, token.top)

    def entry(self, token: int, logprob: float | None, top: Sequence[tuple[int, float]]) -> TokenLogprob:
        alternatives = tuple((self.token(other), self.piece(other), likely) for other, likely in top)
        return TokenLogprob(self.token(token), self.piece(token), logprob, alternatives)

    def echoed(self, prompt: Sequence[int], places: Sequence[Place | None]) -> list[TokenLogprob]:
        """Of a prompt's tokens, as those of an answer are shown."""
        return [
            self.entry(token, None, ())
            if place is None
            else self.entry(token, place[0].logprob, [(other.id, other.logprob) for other in place])
            for token, place in zip(prompt, places, strict=True)
        ]


def prompt_logprobs(places: Sequence[Place | None], piece: Callable[[int], bytes]) -> list[dict[str, Any] | None]:
    """As vLLM has them: one entry a token of the prompt, null for the first, else by token id, the prompt's own
    first."""

    def one(place: Place) -> dict[str, Any]:
        return {
            str(scored.id): {
                "logprob": scored.logprob,
                "rank": scored.rank,
                "decoded_token": show(piece(scored.id)),
            }
            for scored in place
        }

    return [None if place is None else one(place) for place in places]
