"""Observers of an engine's answer while it is relayed: tokens, usage, and the content to score."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from serve.api.limits.bodies import Kept
from serve.dataplane.body_worker import apart
from serve.dataplane.call import Call, Reply
from serve.errors import status_of
from serve.protocols.open_inference import HEADER_LENGTH, parse_response
from serve.shadow.comparison import BOXES, boxes_of
from serve.shadow.free_text import answer_of, answer_of_stream
from variants.errors import EngineError
from variants.evidence.free_running import FreeAnswer
from variants.metrics.answer_scores import score_of
from variants.metrics.scoring import label_matches, text_matches
from variants.vision.boxes import Box, agreement

MODEL = b'"model":'
TEXT, ROLE = b'"choices":[{', b'"role":"assistant","content":""'
"""TEXT occurs in every frame of text, ROLE in the first frame of a vLLM chat, which holds no token."""


class Used(msgspec.Struct):
    """What is read of a complete text answer. msgspec skips the rest without making objects of it, in a fortieth of the
    time that parsing it takes: an answer with log probabilities may have tens of MiB."""

    usage: dict[str, Any] | None = None


@dataclass
class TextAnswer(Kept):
    """Observes a text answer: time of the first token, number of tokens, and the text where it is scored.

    A stream's frames end in a blank line. Text frames are only counted. Two kinds of frames are parsed: the one with
    usage (`choices` is empty) and the last one of the answer (with a `finish_reason`).
    """

    call: Call
    show_usage: bool
    first: float | None = None
    last: float | None = None
    frames: int = 0
    usage: dict[str, Any] = field(default_factory=dict)
    rest: bytes = b""
    keep: bool = False
    """Whether a stream's frames are also kept in `body`, to be compared with another variant's answer."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """Ignores the headers: a text answer needs none of them."""

    def chunk(self, data: bytes, now: float) -> bytes:
        if self.keep or not self.call.streamed:
            self.hold(data)
        return self.stamped(self.follow(data, now)) if self.call.streamed else self.pass_on(data)

    def pass_on(self, data: bytes) -> bytes:
        """The next bytes of an unstreamed answer, with the names of `renamed`. The end, which may be the beginning of
        such a name, is held back."""
        if not self.renamed:
            return data
        data = self.stamped(self.rest + data)
        end = max(0, len(data) - max(len(engine) for engine, _ in self.renamed) + 1)
        self.rest = data[end:]
        return data[:end]

    @cached_property
    def renamed(self) -> tuple[tuple[bytes, bytes], ...]:
        """What an answer names otherwise than its engine: an adapter's digest, which has the length of its base's, and
        the model where the client used an alias. Within a JSON string quotes are escaped, so no content is replaced."""
        if self.call.upstream is None:
            return ()
        served, pairs = self.call.upstream.served, []
        if served.adapter is not None:
            pairs.append((served.engine.artifact.manifest.digest.encode(), served.manifest.digest.encode()))
        if self.call.shown_as is not None:
            engine, client = json.dumps(served.asked_as).encode(), json.dumps(self.call.shown_as).encode()
            pairs += [(MODEL + space + engine, MODEL + space + client) for space in (b"", b" ")]
        return tuple(pairs)

    def stamped(self, data: bytes) -> bytes:
        """The data with the names of `renamed`."""
        for engine, client in self.renamed:
            data = data.replace(engine, client)
        return data

    def follow(self, data: bytes, now: float) -> bytes:
        """Read the complete frames of a stream; returns the bytes to send to the client."""
        if self.rest or not data.endswith(b"\n\n"):
            data, end, self.rest = (self.rest + data).rpartition(b"\n\n")
            data += end
        if frames := data.count(TEXT) - data.count(ROLE):
            self.first, self.last = now if self.first is None else self.first, now
            self.frames += frames
        if b'data: {"error":' in data:
            self.call.status = status_of(EngineError(""))  # the stream began with 200, but it is counted as failed
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

    async def end(self) -> bytes:
        """The bytes that were held back: an incomplete frame, or what may have been the beginning of a name."""
        if not self.call.streamed and self.call.status == 200 and not self.dropped:
            self.usage = await apart(len(self.body), self.used)
        return self.rest

    def used(self) -> dict[str, Any]:
        """The usage of a complete unstreamed answer."""
        return msgspec.json.decode(self.body, type=Used).usage or {}

    @property
    def tokens(self) -> int:
        """Tokens of the answer so far. Without usage, this is the number of text frames: the engines stream one token
        per frame, except that vLLM merges tokens when the reader is slow."""
        return int(self.usage.get("completion_tokens", self.frames))

    def text(self) -> str:
        """The text of an unstreamed answer."""
        return answer_of(self.body).text

    def score(self, label: str) -> float | None:
        """From 0, wrong, to 1, right; None where a complete answer cannot be scored. It is called only for an answer
        that is kept."""
        text = self.text()
        score = score_of(self.call.scored_as, text, label)
        return float(text_matches(text, label)) if score is None else score

    def outcome(self, label: str | list[Box]) -> float | None:
        return self.score(label) if isinstance(label, str) else None

    def answered(self) -> tuple[FreeAnswer, int]:
        """The answer (also of a kept stream) and its number of tokens."""
        body = bytes(self.body)
        answer = answer_of_stream(body) if self.call.streamed else answer_of(body)
        return answer, int(self.usage.get("completion_tokens", 0))

    def again(self, reply: Reply) -> "TextAnswer":
        """Another engine's answer to the same request."""
        return replace(self, body=bytearray(reply.body))

    def reply(self) -> Reply:
        return Reply(bytes(self.body), None)


@dataclass
class TensorAnswer(Kept):
    """Passes tensors on, and keeps them where they are scored."""

    keep: bool
    header_length: str | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        self.header_length = headers.get(HEADER_LENGTH)

    def chunk(self, data: bytes, now: float) -> bytes:
        if self.keep:
            self.hold(data)
        return data

    async def end(self) -> bytes:
        return b""

    def answered(self) -> tuple[FreeAnswer, int]:
        return FreeAnswer(""), 0

    def again(self, reply: Reply) -> "TensorAnswer":
        other = TensorAnswer(keep=True)
        other.body, other.header_length = bytearray(reply.body), reply.header_length
        return other

    def reply(self) -> Reply:
        return Reply(bytes(self.body), self.header_length)

    def outcome(self, label: str | list[Box]) -> float | None:
        """Score of the first label, or of the boxes, 0 to 1; None where the client did not request them."""
        names = ("labels",) if isinstance(label, str) else BOXES
        outputs = parse_response(bytes(self.body), self.header_length, names)
        if isinstance(label, str):
            return float(label_matches(outputs["labels"].ravel()[0].decode(), label)) if "labels" in outputs else None
        boxes = boxes_of(outputs)
        return None if boxes is None else agreement(boxes, label)
