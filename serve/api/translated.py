"""Routes in another format over a route that exists: the request is translated, the other route answers it as its own,
and its answer is translated back.

So labels, stickiness, shadows, metrics, limits and errors are those of the other route. Errors are answered in the
door's format, with the door's own names of fields.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import logs
from serve.api.http import Body, answer_error, encode_object, read_object, refuse
from serve.api.limits.bodies import Kept, Share, share_of
from serve.dataplane.body_worker import apart
from serve.errors import openai_body, status_of
from variants.errors import EngineError, UnderstudyError


class Stream(Protocol):
    """Translates the frames of a streamed answer."""

    def frame(self, document: dict[str, Any]) -> bytes:
        """The bytes for one frame, an error frame included."""

    def end(self) -> bytes:
        """The bytes after the last frame."""


class Translation(NamedTuple):
    """One request: what the other route is asked, and how its answer is read."""

    asked: dict[str, Any]
    whole: Callable[[dict[str, Any]], dict[str, Any]]
    stream: Callable[[], Stream] | None = None


def same_error(status: int, error: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's format, unchanged."""
    return {"error": error}


@dataclass(frozen=True)
class Door:
    """A format. `translate` checks a request and raises InputError. `fields` are the door's names of the other route's
    fields. `body` and `error` write errors, ours and the other route's."""

    translate: Callable[[dict[str, Any]], Translation]
    fields: Mapping[str, str] = field(default_factory=dict)
    body: Body = openai_body
    error: Callable[[int, dict[str, Any]], dict[str, Any]] = same_error

    def renamed(self, error: dict[str, Any]) -> dict[str, Any]:
        """The error with the door's name of its field, in `param` and at the start of the message."""
        param, message = error.get("param"), str(error.get("message", ""))
        if not isinstance(param, str):
            return error
        name = self.fields.get(re.split(r"[.\[]", param)[0])
        if name is None:
            return error
        if message.startswith(param):
            message = name + message[len(param) :]
        return {**error, "param": name, "message": message}


class TranslatedRoute:
    """One POST route, as an ASGI application over `route`, which answers JSON or OpenAI's stream of frames."""

    def __init__(self, door: Door, route: ASGIApp, limit: int) -> None:
        self.door, self.route, self.limit = door, route, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body, document = await read_object(scope, receive, self.limit)
            size = len(body)
            translation = await apart(size, self.door.translate, document)
            body = await apart(size, encode_object, translation.asked)
            share_of(scope).give(2 * size)  # the route counts the new body and the object in it
        except UnderstudyError as error:
            await refuse(error, self.door.body, scope, receive, send)
            return
        answer = TranslatedAnswer(self.door, translation, send, share_of(scope))
        await self.route(as_json(scope), preceded(body, receive), answer.send)
        if answer.status is not None:
            logs.noted().status = answer.status
        if answer.held is not None:  # the engine broke off before the end, and nothing was sent
            fault = answer.kept.fault or EngineError("the engine broke off its answer", mend="try again")
            logs.noted().status = status_of(fault)
            await answer_error(fault, self.door.body, answer.names())(scope, receive, send)


def as_json(scope: Scope) -> Scope:
    """The request with the headers of a plain JSON body."""
    changed = (b"content-encoding", b"content-length", b"content-type")
    headers = [pair for pair in scope["headers"] if pair[0] not in changed]
    return {**scope, "headers": [*headers, (b"content-type", b"application/json")]}


def preceded(body: bytes, receive: Receive) -> Receive:
    """A channel with `body` first, then what the client does."""
    sent = False

    async def next_message() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


class TranslatedAnswer:
    """Sends an answer in the door's format. The start of an unstreamed answer is held until its body is complete, and
    its bytes are taken from the request's `share`. `status` is its status then."""

    def __init__(self, door: Door, translation: Translation, out: Send, share: Share) -> None:
        self.door, self.translation, self.out, self.kept = door, translation, out, Kept(share=share)
        self.held: Message | None = None
        self.status: int | None = None
        self.stream: Stream | None = None
        self.rest = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            del headers["content-length"]
            message = {**message, "headers": headers.raw}
            frames = headers.get("content-type", "").startswith("text/event-stream")
            if self.translation.stream is not None and message["status"] == 200 and frames:
                self.stream = self.translation.stream()
                await self.out(message)
            else:
                self.held = message
            return
        more, data = message.get("more_body", False), message.get("body", b"")
        if self.stream is not None:
            out = self.frames(self.stream, data) + (b"" if more else self.stream.end())
            if out or not more:
                await self.out({"type": "http.response.body", "body": out, "more_body": more})
            return
        self.kept.hold(data)
        if not more and not self.kept.dropped:
            await self.send_whole()

    def frames(self, stream: Stream, data: bytes) -> bytes:
        """The events of all complete frames. The frame `[DONE]` holds no document."""
        *frames, self.rest = (self.rest + data).split(b"\n\n")
        return b"".join(stream.frame(json.loads(frame[6:])) for frame in frames if frame.startswith(b"data: {"))

    async def send_whole(self) -> None:
        assert self.held is not None
        start, self.held = self.held, None
        status, body = await apart(len(self.kept.body), self.translated, start["status"])
        self.status = status
        headers = MutableHeaders(raw=list(start["headers"]))
        headers["content-type"], headers["content-length"] = "application/json", str(len(body))
        await self.out({**start, "status": status, "headers": headers.raw})
        await self.out({"type": "http.response.body", "body": body, "more_body": False})

    def translated(self, status: int) -> tuple[int, bytes]:
        """The complete answer's status and body in the door's format."""
        try:
            document = msgspec.json.decode(self.kept.body)
            if status == 200:
                return status, msgspec.json.encode(self.translation.whole(document))
            return status, json.dumps(self.door.error(status, self.door.renamed(document["error"]))).encode()
        except (ValueError, LookupError, TypeError):
            fault = EngineError("the engine's answer cannot be translated", mend="try again")
            return (status if status >= 400 else 502), self.door.body(fault)

    def names(self) -> dict[str, str]:
        """The headers of the held start that name the variant."""
        assert self.held is not None
        headers = MutableHeaders(raw=list(self.held["headers"]))
        return {name: value for name, value in headers.items() if name.startswith("x-")}
