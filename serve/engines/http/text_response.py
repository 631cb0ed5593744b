"""OpenAI's answers as bytes: whole JSON documents and SSE frames, for completions and for chat.

Frames are encoded once, compactly, and every one carries the same head, so what relays them need not read
them. A frame is sent for every step of the engine, also where its text is still held back: a client that
measures the time to the first token sees the engine's, whatever the tokenizer does."""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from serve.engines.base import Finish, Place, Token

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class TokenLogprob:
    piece: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...]


@dataclass
class Delta:
    """What came since the delta before: `tokens` new ones and the text they allow to show."""

    text: str = ""
    tokens: int = 0
    logprobs: list[TokenLogprob] | None = None
    finish: Finish | None = None
    stop_reason: str | int | None = None
    prompt: list[dict[str, Any] | None] | None = None

    def add_logprobs(self, token: Token, piece: Callable[[int], bytes]) -> None:
        assert token.logprob is not None
        top = tuple((piece(other), logprob) for other, logprob in token.top)
        entry = TokenLogprob(piece(token.id), token.logprob, top)
        self.logprobs = [*(self.logprobs or []), entry]


@dataclass
class Answer(ABC):
    """One answer in the making."""

    model: str
    digest: str | None
    prompt_tokens: int
    new_tokens: int = 0
    head: dict[str, Any] = field(init=False)

    whole_object: ClassVar[str]
    chunk_object: ClassVar[str]
    id_prefix: ClassVar[str]

    def __post_init__(self) -> None:
        self.head = {
            "id": f"{self.id_prefix}-{uuid.uuid4().hex}",
            "object": self.chunk_object,
            "created": int(time.time()),
            "model": self.model,
        }
        if self.digest is not None:
            self.head["system_fingerprint"] = self.digest

    async def frames(self, deltas: AsyncGenerator[Delta, None], shows_usage: bool) -> AsyncGenerator[bytes, None]:
        """SSE frames up to and with `[DONE]`."""
        async with aclosing(deltas):
            async for delta in deltas:
                first, self.new_tokens = self.new_tokens == 0, self.new_tokens + delta.tokens
                yield frame({**self.head, "choices": [self.chunk_choice(delta, first)]})
        if shows_usage:
            yield frame({**self.head, "choices": [], "usage": self.usage()})
        yield DONE

    async def whole(self, deltas: AsyncGenerator[Delta, None]) -> bytes:
        """The one JSON document of an answer that is not streamed."""
        total = Delta()
        texts = []
        async with aclosing(deltas):
            async for delta in deltas:
                texts.append(delta.text)
                self.new_tokens += delta.tokens
                total.prompt = delta.prompt or total.prompt
                if delta.logprobs is not None:
                    total.logprobs = (total.logprobs or []) + delta.logprobs
                total.finish, total.stop_reason = delta.finish, delta.stop_reason
        total.text = "".join(texts)
        choice = self.whole_choice(total)
        return encode({**self.head, "object": self.whole_object, "choices": [choice], "usage": self.usage()})

    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.new_tokens,
            "total_tokens": self.prompt_tokens + self.new_tokens,
        }

    @abstractmethod
    def chunk_choice(self, delta: Delta, first: bool) -> dict[str, Any]:
        """The choice of one frame; `first` on the first."""

    @abstractmethod
    def whole_choice(self, delta: Delta) -> dict[str, Any]:
        """The choice of a whole answer, `delta` holding all of it."""


@dataclass
class CompletionAnswer(Answer):
    """`text_completion`. `offset` is where the next token's text begins, in characters, for logprobs."""

    offset: int = 0
    whole_object = "text_completion"
    chunk_object = "text_completion"
    id_prefix = "cmpl"

    def chunk_choice(self, delta: Delta, first: bool) -> dict[str, Any]:
        return self.whole_choice(delta)

    def whole_choice(self, delta: Delta) -> dict[str, Any]:
        return {
            "index": 0,
            "text": delta.text,
            "logprobs": self.logprobs(delta.logprobs),
            "finish_reason": delta.finish,
            "stop_reason": delta.stop_reason,
        } | ({} if delta.prompt is None else {"prompt_logprobs": delta.prompt})

    def logprobs(self, entries: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if entries is None:
            return None
        offsets, tokens = [], [show(entry.piece) for entry in entries]
        for token in tokens:
            offsets.append(self.offset)
            self.offset += len(token)
        return {
            "tokens": tokens,
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [
                {show(piece): logprob for piece, logprob in entry.top} | {show(entry.piece): entry.logprob}
                for entry in entries
            ],
            "text_offset": offsets,
        }


@dataclass
class ChatAnswer(Answer):
    """`chat.completion` and its chunks."""

    whole_object = "chat.completion"
    chunk_object = "chat.completion.chunk"
    id_prefix = "chatcmpl"

    def chunk_choice(self, delta: Delta, first: bool) -> dict[str, Any]:
        content = {"role": "assistant", "content": delta.text} if first else {"content": delta.text}
        return {
            "index": 0,
            "delta": content,
            "logprobs": chat_logprobs(delta.logprobs),
            "finish_reason": delta.finish,
            "stop_reason": delta.stop_reason,
        }

    def whole_choice(self, delta: Delta) -> dict[str, Any]:
        return {
            "index": 0,
            "message": {"role": "assistant", "content": delta.text},
            "logprobs": chat_logprobs(delta.logprobs),
            "finish_reason": delta.finish,
            "stop_reason": delta.stop_reason,
        }


def chat_logprobs(entries: list[TokenLogprob] | None) -> dict[str, Any] | None:
    if entries is None:
        return None

    def one(piece: bytes, logprob: float) -> dict[str, Any]:
        return {"token": show(piece), "logprob": logprob, "bytes": list(piece)}

    content = [
        one(entry.piece, entry.logprob) | {"top_logprobs": [one(*other) for other in entry.top]} for entry in entries
    ]
    return {"content": content}


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


def show(piece: bytes) -> str:
    """A token's text; bytes that are no whole character become U+FFFD."""
    return piece.decode(errors="replace")


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def frame(document: dict[str, Any]) -> bytes:
    return b"data: " + encode(document) + b"\n\n"
