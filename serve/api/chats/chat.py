"""Reads the answers of `/v1/chat/completions` for the doors that translate them: a message's blocks, and a stream's
deltas. A block is a piece of reasoning, of text, or one call of a tool."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["reasoning", "text", "tool"]


@dataclass
class Block:
    """One block, or what a frame of a stream adds to one. For a tool, `text` holds its arguments as JSON, `call` its
    id, and `name` its name, both empty in later frames. `index` tells the tools of a message apart."""

    kind: Kind
    text: str
    index: int = 0
    call: str = ""
    name: str = ""
    logprobs: list[dict[str, Any]] = field(default_factory=list)


def blocks_of(message: dict[str, Any], logprobs: dict[str, Any] | None) -> Iterator[Block]:
    """The blocks of a message, or of a frame's delta."""
    if text := message.get("reasoning") or message.get("reasoning_content"):
        yield Block("reasoning", text)
    if text := message.get("content"):
        yield Block("text", text, logprobs=(logprobs or {}).get("content") or [])
    for at, call in enumerate(message.get("tool_calls") or ()):
        function = call.get("function") or {}
        yield Block(
            "tool",
            function.get("arguments") or "",
            index=call.get("index", at),
            call=call.get("id") or "",
            name=function.get("name") or "",
        )


def answer_blocks(choice: dict[str, Any]) -> list[Block]:
    """The blocks of a complete answer: at least one, which is an empty text where the model said nothing."""
    return list(blocks_of(choice["message"], choice.get("logprobs"))) or [Block("text", "")]


class ChatStream(ABC):
    """Turns the frames of a streamed chat into another protocol's events. A block is opened by its first delta and
    closed by the first delta of the next. `usage`, `finish` and `stop` (the stop string) are the chat's own."""

    def __init__(self) -> None:
        self.block: Block | None = None
        self.begun = self.ended = False
        self.usage: dict[str, Any] = {}
        self.finish: str | None = None
        self.stop: str | None = None

    def frame(self, document: dict[str, Any]) -> bytes:
        """The events of one frame."""
        if self.ended:
            return b""
        events = [] if self.begun else [self.begin(document)]
        self.begun = True
        if isinstance(document.get("error"), dict):
            self.ended = True
            return b"".join([*events, self.fail(document["error"])])
        for choice in document.get("choices") or ():
            for delta in blocks_of(choice.get("delta") or {}, choice.get("logprobs")):
                events += self.add(delta)
            self.finish = choice.get("finish_reason") or self.finish
            stop = choice.get("stop_reason")
            self.stop = stop if isinstance(stop, str) else self.stop
        self.usage = document.get("usage") or self.usage
        return b"".join(events)

    def add(self, delta: Block) -> list[bytes]:
        events: list[bytes] = []
        if self.block is None or (self.block.kind, self.block.index) != (delta.kind, delta.index):
            if self.block is not None:
                events.append(self.close(self.block))
            self.block = Block(delta.kind, "", delta.index, delta.call, delta.name)
            events.append(self.open(self.block))
        if delta.text:
            self.block.text += delta.text
            self.block.logprobs += delta.logprobs
            events.append(self.grow(self.block, delta))
        return events

    def end(self) -> bytes:
        """The events after the last frame; none after an error."""
        if self.ended or not self.begun:
            return b""
        self.ended = True
        events = [] if self.block is not None else self.add(Block("text", ""))
        assert self.block is not None
        return b"".join([*events, self.close(self.block), self.complete()])

    @abstractmethod
    def begin(self, document: dict[str, Any]) -> bytes:
        """The events before the first block."""

    @abstractmethod
    def open(self, block: Block) -> bytes:
        """A block begins; it has no text yet."""

    @abstractmethod
    def grow(self, block: Block, delta: Block) -> bytes:
        """`delta` was added to `block`."""

    @abstractmethod
    def close(self, block: Block) -> bytes:
        """The block is complete."""

    @abstractmethod
    def complete(self) -> bytes:
        """The answer is complete."""

    @abstractmethod
    def fail(self, error: dict[str, Any]) -> bytes:
        """The answer broke off; `error` has OpenAI's `message` and `type`."""


def event(kind: str, document: dict[str, Any]) -> bytes:
    """One server-sent event, named in its `event` line and in `type`."""
    body = json.dumps({"type": kind, **document}, separators=(",", ":"))
    return f"event: {kind}\ndata: {body}\n\n".encode()
