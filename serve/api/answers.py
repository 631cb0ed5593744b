"""Follows an engine's answer on its way to the client: tokens, usage, and what has to be scored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from serve.dataplane.call import Call, Reply
from serve.errors import status_of
from serve.protocols.open_inference import HEADER_LENGTH, parse_response
from variants.errors import EngineError
from variants.metrics.scoring import label_matches, text_matches
from variants.vision.boxes import Box, agreement, from_tensors

TEXT, ROLE = b'"choices":[{', b'"role":"assistant","content":""'
"""In every frame of text; and in the one before the first token that vLLM's chats begin with."""


@dataclass
class TextAnswer:
    """Follows a text answer on its way: first token, tokens, and the text where it has to be scored.

    A stream's frames end in a blank line. Those of text are counted; only two kinds are looked into: the one with usage
    (`choices` empty), and the one that ends the answer (a `finish_reason`).
    """

    call: Call
    show_usage: bool
    first: float | None = None
    last: float | None = None
    frames: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""
    body: bytearray = field(default_factory=bytearray)
    keep: bool = False
    """Whether a stream's frames are kept too, below `body`: to be compared with another variant's answer."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Nothing in the headers of a text answer is of use here."""

    def chunk(self, data: bytes, now: float) -> bytes:
        if self.keep or not self.call.streamed:
            self.body += data
        if not self.call.streamed:
            return b"" if self.is_adapter else data
        return self.stamped(self.follow(data, now))

    @property
    def is_adapter(self) -> bool:
        return self.call.upstream is not None and self.call.upstream.served.adapter is not None

    def stamped(self, data: bytes) -> bytes:
        """An engine signs with the digest of what it loaded first; an adapter's answer gets the adapter's own, which is
        as long."""
        if not self.is_adapter:
            return data
        assert self.call.upstream is not None
        snapshot = self.call.upstream.served
        return data.replace(snapshot.engine.artifact.manifest.digest.encode(), snapshot.manifest.digest.encode())

    def follow(self, data: bytes, now: float) -> bytes:
        """Take what a stream's whole frames say; gives what is to be sent of them."""
        if self.rest or not data.endswith(b"\n\n"):
            data, end, self.rest = (self.rest + data).rpartition(b"\n\n")
            data += end
        if frames := data.count(TEXT) - data.count(ROLE):
            self.first, self.last = now if self.first is None else self.first, now
            self.frames += frames
        if b'data: {"error":' in data:
            self.call.status = status_of(EngineError(""))  # a stream has begun as 200; it is counted as what it became
        if b'"choices":[]' in data or b'"finish_reason":"' in data:
            return b"".join(self.frame(part) for part in data.split(b"\n\n") if part)
        return data

    def frame(self, data: bytes) -> bytes:
        if b'"choices":[]' in data and data.startswith(b"data: {"):
            self.usage = json.loads(data[6:]).get("usage") or {}
            if not self.show_usage:
                return b""
        elif b'"finish_reason":"' in data and not self.show_usage and b'"system_fingerprint":"' not in data:
            assert self.call.upstream is not None
            stamp = f'data: {{"system_fingerprint":"{self.call.upstream.manifest.digest}",'
            data = data.replace(b"data: {", stamp.encode(), 1)
        return data + b"\n\n"

    def end(self) -> bytes:
        if not self.call.streamed and self.call.status == 200:
            self.usage = json.loads(self.body).get("usage") or {}
        return self.stamped(bytes(self.body)) if self.is_adapter and not self.call.streamed else self.rest

    @property
    def tokens(self) -> int:
        """Of the answer as far as it came. Where usage does not say, as many as a stream had frames of text: the
        engines here stream a token a frame, but for what vLLM puts together when nobody takes it at once."""
        return int(self.usage.get("completion_tokens", self.frames))

    def text(self) -> str:
        """What an unstreamed answer says."""
        choice = json.loads(self.body)["choices"][0]
        return str(choice["text"] if "text" in choice else choice["message"]["content"])

    def is_right(self, label: str) -> bool | None:
        """Whether a whole answer is the right one; None where it says nothing that could be."""
        return text_matches(self.text(), label)

    def outcome(self, label: str | list[Box]) -> float | None:
        """1 for a right answer, 0 for a wrong one."""
        right = self.is_right(label) if isinstance(label, str) else None
        return None if right is None else float(right)

    def answered(self) -> tuple[str, int]:
        """The text, of a stream that was kept too, and its number of tokens."""
        text = text_of_stream(bytes(self.body)) if self.call.streamed else self.text()
        return text, int(self.usage.get("completion_tokens", 0))

    def again(self, reply: Reply) -> "TextAnswer":
        """The same request's answer by another engine."""
        return replace(self, body=bytearray(reply.body))

    def reply(self) -> Reply:
        return Reply(bytes(self.body), None)


def text_of_stream(body: bytes) -> str:
    """What the frames of a streamed answer say, put together."""
    parts = []
    for line in body.split(b"\n"):
        if line.startswith(b"data: {"):
            for choice in json.loads(line[6:]).get("choices", []):
                parts.append(choice.get("text") or (choice.get("delta") or {}).get("content") or "")
    return "".join(parts)


class TensorAnswer:
    """Copies tensors on, and keeps them where they have to be scored."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.body = bytearray()
        self.header_length: str | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        self.header_length = headers.get(HEADER_LENGTH)

    def chunk(self, data: bytes, now: float) -> bytes:
        if self.keep:
            self.body += data
        return data

    def end(self) -> bytes:
        return b""

    def answered(self) -> tuple[str, int]:
        return "", 0

    def again(self, reply: Reply) -> "TensorAnswer":
        other = TensorAnswer(keep=True)
        other.body, other.header_length = bytearray(reply.body), reply.header_length
        return other

    def reply(self) -> Reply:
        return Reply(bytes(self.body), self.header_length)

    def label(self) -> str | None:
        """The first label of the answer; None where the client did not ask for labels."""
        outputs = parse_response(bytes(self.body), self.header_length)
        return outputs["labels"].ravel()[0].decode() if "labels" in outputs else None

    def boxes(self) -> list[Box] | None:
        """The boxes of a detector's answer; None where the client did not ask for all that makes them."""
        outputs = parse_response(bytes(self.body), self.header_length)
        if not {"boxes", "scores", "labels"} <= outputs.keys():
            return None
        return from_tensors(outputs["boxes"].tolist(), outputs["scores"].tolist(), outputs["labels"].tolist())

    def outcome(self, label: str | list[Box]) -> float | None:
        """How right the answer is, 0 to 1; None where it does not hold what is scored."""
        if isinstance(label, str):
            found = self.label()
            return None if found is None else float(label_matches(found, label))
        boxes = self.boxes()
        return None if boxes is None else agreement(boxes, label)
