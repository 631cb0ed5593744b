"""OpenAI's answers as bytes, with vLLM's additions: whole JSON documents and SSE frames, for completions and for chat.

An answer has one or more choices, which come in any order. Frames are encoded once, compactly, and every one carries
the same head, so what relays them need not read them. A frame is sent for every step of the engine, also where its text
is still held back: a client that measures the time to the first token sees the engine's, whatever the tokenizer does.
"""

import json
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, ClassVar

from serve.engines.base import Finish

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class TokenLogprob:
    """A token as it is shown, its bytes and its log probability, and the same of the likeliest; None for a prompt's
    first token, which nothing comes before."""

    shown: str
    piece: bytes
    logprob: float | None
    top: tuple[tuple[str, bytes, float], ...] = ()


@dataclass
class Delta:
    """What came of one choice since the delta before: new tokens and the text they allow to show. `usage` counts the
    new tokens, `ids` are what they are."""

    text: str = ""
    tokens: int = 0
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] | None = None
    finish: Finish | None = None
    stop_reason: str | int | None = None
    prompt: list[dict[str, Any] | None] | None = None

    def add(self, later: "Delta") -> None:
        """Take in the delta that comes after this one."""
        self.text += later.text
        self.tokens += later.tokens
        self.ids += later.ids
        self.finish, self.stop_reason = later.finish, later.stop_reason
        self.prompt = later.prompt or self.prompt
        if later.logprobs is not None:
            self.logprobs = (self.logprobs or []) + later.logprobs


Deltas = AsyncGenerator[tuple[int, Delta], None]
"""Deltas with the index of their choice."""


@dataclass
class Answer(ABC):
    """One answer in the making. `prompts` has the token ids of each prompt, `each` the choices of one; choices of one
    prompt follow each other."""

    model: str
    digest: str | None
    prompts: list[list[int]]
    each: int = 1
    shows_ids: bool = False
    usage_always: bool = False
    new_tokens: dict[int, int] = field(init=False, default_factory=dict)
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

    async def frames(self, deltas: Deltas, shows_usage: bool) -> AsyncGenerator[bytes, None]:
        """SSE frames up to and with `[DONE]`."""
        async with aclosing(deltas):
            async for index, delta in deltas:
                first = index not in self.new_tokens
                self.count(index, delta)
                choice = self.chunk_choice(index, delta, first)
                document = {**self.head, "choices": [choice]}
                if self.usage_always:
                    document["usage"] = usage(len(self.prompts[index // self.each]), self.new_tokens[index])
                yield frame(document | self.of_prompt(delta, first))
        if shows_usage:
            yield frame({**self.head, "choices": [], "usage": self.usage()})
        yield DONE

    async def whole(self, deltas: Deltas) -> bytes:
        """The one JSON document of an answer that is not streamed."""
        totals: dict[int, Delta] = {}
        async with aclosing(deltas):
            async for index, delta in deltas:
                self.count(index, delta)
                totals.setdefault(index, Delta()).add(delta)
        choices = [self.whole_choice(index, totals[index]) for index in sorted(totals)]
        document = {**self.head, "object": self.whole_object, "choices": choices, "usage": self.usage()}
        return encode(document | self.of_prompt(totals[0], True))

    def count(self, index: int, delta: Delta) -> None:
        self.new_tokens[index] = self.new_tokens.get(index, 0) + delta.tokens

    def usage(self) -> dict[str, int]:
        return usage(sum(map(len, self.prompts)), sum(self.new_tokens.values()))

    def ending(self, delta: Delta) -> dict[str, Any]:
        """What choices of both kinds end with."""
        ids = {"token_ids": delta.ids} if self.shows_ids else {}
        return {"finish_reason": delta.finish, "stop_reason": delta.stop_reason, **ids}

    def of_prompt(self, delta: Delta, first: bool) -> dict[str, Any]:
        """Fields of the document about its prompt; none where each choice has its own."""
        return {}

    @abstractmethod
    def chunk_choice(self, index: int, delta: Delta, first: bool) -> dict[str, Any]:
        """The choice of one frame; `first` on the choice's first."""

    @abstractmethod
    def whole_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        """The choice of a whole answer, `delta` holding all of it."""


@dataclass
class CompletionAnswer(Answer):
    """`text_completion`. `offsets` are where each choice's next token begins, in characters, for logprobs."""

    offsets: dict[int, int] = field(default_factory=dict)
    whole_object = "text_completion"
    chunk_object = "text_completion"
    id_prefix = "cmpl"

    def chunk_choice(self, index: int, delta: Delta, first: bool) -> dict[str, Any]:
        choice: dict[str, Any] = {"index": index, "text": delta.text, "logprobs": self.logprobs(index, delta.logprobs)}
        choice |= self.ending(delta)
        if self.shows_ids and first:
            choice["prompt_token_ids"] = self.prompts[index // self.each]
        return choice if delta.prompt is None else choice | {"prompt_logprobs": delta.prompt}

    def whole_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        return self.chunk_choice(index, delta, True)

    def logprobs(self, index: int, entries: list[TokenLogprob] | None) -> dict[str, Any] | None:
        if entries is None:
            return None
        offset, offsets = self.offsets.get(index, 0), []
        for entry in entries:
            offsets.append(offset)
            offset += len(entry.shown)
        self.offsets[index] = offset
        return {
            "tokens": [entry.shown for entry in entries],
            "token_logprobs": [entry.logprob for entry in entries],
            "top_logprobs": [
                None
                if entry.logprob is None
                else {shown: logprob for shown, _, logprob in entry.top} | {entry.shown: entry.logprob}
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

    def chunk_choice(self, index: int, delta: Delta, first: bool) -> dict[str, Any]:
        content = {"role": "assistant", "content": delta.text} if first else {"content": delta.text}
        choice = {"index": index, "delta": content, "logprobs": chat_logprobs(delta.logprobs)}
        return choice | self.ending(delta)

    def whole_choice(self, index: int, delta: Delta) -> dict[str, Any]:
        message = {"role": "assistant", "content": delta.text}
        choice = {"index": index, "message": message, "logprobs": chat_logprobs(delta.logprobs)}
        return choice | self.ending(delta)

    def of_prompt(self, delta: Delta, first: bool) -> dict[str, Any]:
        ids = {"prompt_token_ids": self.prompts[0]} if self.shows_ids and first else {}
        return ids if delta.prompt is None else ids | {"prompt_logprobs": delta.prompt}


def usage(prompt: int, new: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": new, "total_tokens": prompt + new}


def chat_logprobs(entries: list[TokenLogprob] | None) -> dict[str, Any] | None:
    if entries is None:
        return None

    def one(shown: str, piece: bytes, logprob: float | None) -> dict[str, Any]:
        return {"token": shown, "logprob": logprob, "bytes": list(piece)}

    content = [
        one(entry.shown, entry.piece, entry.logprob) | {"top_logprobs": [one(*other) for other in entry.top]}
        for entry in entries
    ]
    return {"content": content}


def show(piece: bytes) -> str:
    """A token's text; bytes that are no whole character become U+FFFD."""
    return piece.decode(errors="replace")


def join(pieces: Sequence[bytes]) -> str:
    """The text of several tokens."""
    return show(b"".join(pieces))


def encode(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def frame(document: dict[str, Any]) -> bytes:
    return b"data: " + encode(document) + b"\n\n"
