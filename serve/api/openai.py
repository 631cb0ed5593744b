"""OpenAI's API: `/v1/models`, `/v1/chat/completions`, `/v1/completions`, and `/tokenize` as vLLM has it; what
`/v1/embeddings` and `/v1/images/generations` have of their own stands in `embeddings` and `images`.

The door checks what the router needs (a JSON object, a model, a client); every other field is checked by the engine,
whose answer, errors too, is passed on as it is. Knows nothing of Ray.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.types import Receive, Scope, Send

from serve import metrics
from serve.api.http import (
    carry,
    count_label,
    encode_object,
    header,
    parse_object,
    read_body,
    refuse,
    send_json,
)
from serve.dataplane.call import Call, Reply
from serve.dataplane.relay import Relay
from serve.dataplane.router import Target
from serve.dataplane.upstream import Seat
from serve.dataplane.upstreams import Fleet
from serve.errors import openai_body, status_of
from serve.shadow.replay import Shadows
from serve.shadow.sampling import choose
from variants.errors import EngineError, InputError, UnderstudyError, UnknownName
from variants.metrics.scoring import text_matches
from variants.vision.boxes import Box

TASK = "text-generation"
PLACES = {TASK: "/v1/completions", "feature-extraction": "/v1/embeddings", "image-generation": "/v1/images/generations"}
"""Where to POST what, if not to v2."""
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
        return self.call.seat is not None and self.call.seat.live.adapter is not None

    def stamped(self, data: bytes) -> bytes:
        """An engine signs with the digest of what it loaded first; an adapter's answer gets the adapter's own, which is
        as long."""
        if not self.is_adapter:
            return data
        assert self.call.seat is not None
        live = self.call.seat.live
        return data.replace(live.engine.artifact.manifest.digest.encode(), live.manifest.digest.encode())

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
            assert self.call.seat is not None
            stamp = f'data: {{"system_fingerprint":"{self.call.seat.manifest.digest}",'
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


class TextRoute:
    """One POST route of the engines that take text, as an ASGI application. `answer` follows what comes back."""

    def __init__(
        self,
        fleet: Fleet,
        relay: Relay,
        shadows: Shadows,
        path: str,
        body_limit: int,
        task: str = TASK,
        answer: type[TextAnswer] = TextAnswer,
    ) -> None:
        self.fleet, self.relay, self.path, self.body_limit = fleet, relay, path, body_limit
        self.shadows = shadows
        self.task, self.answer = task, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.perf_counter()
        try:
            body = await read_body(scope, receive, self.body_limit)
            document = parse_object(body)
            call, answer = self.prepare(scope, document, arrived)
            chosen = choose(
                self.fleet, scope, call.target, self.path, body, header(scope, "x-understudy-label"), document
            )
            answer.keep = bool(chosen)
        except UnderstudyError as error:
            metrics.errors.labels(str(status_of(error))).inc()
            await refuse(send, error, openai_body)
            return
        try:
            await carry(self.relay, call, answer, receive, send, openai_body)
        finally:  # a client that leaves cancels this, after tokens that the engine has made
            count_tokens(call, answer)
        self.score(scope, call, answer)
        self.shadows.offer(chosen, call, answer)

    def prepare(self, scope: Scope, document: dict[str, Any], arrived: float) -> tuple[Call, TextAnswer]:
        """Check the door's fields. Raises InputError, UnknownName."""
        target = check_model(self.fleet, document, self.task)
        streamed = check_type(document, "stream", bool) or False
        client = check_type(document, "user", str) or header(scope, "x-understudy-client")
        options = check_type(document, "stream_options", dict) or {}
        asked = check_type(options, "include_usage", bool, inside="stream_options.") or False
        if streamed:
            document["stream_options"] = {**options, "include_usage": True}

        def ask(seat: Seat) -> tuple[str, bytes]:
            return self.path, encode_object({**document, "model": seat.live.asked_as})

        call = Call(
            target=target,
            client=client,
            ask=ask,
            headers={"content-type": "application/json"},
            streamed=streamed,
            request_id=header(scope, "x-request-id") or "",
            arrived=arrived,
        )
        return call, self.answer(call, show_usage=asked)

    def score(self, scope: Scope, call: Call, answer: TextAnswer) -> None:
        """Count an answer that was complete, where the request says what is right."""
        label = header(scope, "x-understudy-label")
        if call.status != 200 or label is None or call.streamed or self.path == "/tokenize":
            return
        if (right := answer.is_right(label)) is not None:
            count_label(call, header(scope, "x-understudy-task"), right)


def count_tokens(call: Call, answer: TextAnswer) -> None:
    """What an answer says of its variant's speed, as far as it came: whoever broke it off, its tokens were made."""
    if call.assignment is None:
        return
    labels = (call.assignment.model, call.assignment.variant)
    metrics.prompt_tokens.labels(*labels).inc(answer.usage.get("prompt_tokens", 0))
    metrics.output_tokens.labels(*labels).inc(answer.tokens)
    if answer.first is not None and answer.last is not None:
        metrics.first_token.labels(*labels).observe(answer.first - call.arrived)
        if answer.tokens > 1:
            metrics.per_token.labels(*labels).observe((answer.last - answer.first) / (answer.tokens - 1))


def check_type(document: dict[str, Any], name: str, kind: type, inside: str = "") -> Any:
    """An optional field of the given type, None where it is absent or null. Raises InputError; `inside` is the path of
    the document itself."""
    value = document.get(name)
    if value is not None and not isinstance(value, kind):
        raise InputError(
            f"{name} is a {type(value).__name__}", field=inside + name, mend=f"send a {kind.__name__} or leave it out"
        )
    return value


def check_model(fleet: Fleet, document: dict[str, Any], task: str) -> Target:
    """The model that a request names. Raises InputError, UnknownName."""
    name = check_type(document, "model", str)
    if not name:
        raise InputError("no model is named", field="model", mend=f"models are {', '.join(fleet.models)}")
    target = Target.parse(name)
    fleet.model(target.model)
    found = fleet.models[target.model].task
    if found != task:
        raise InputError(
            f"{target.model} does {found}, not {task}",
            field="model",
            mend=f"POST to {PLACES.get(found, f'/v2/models/{target.model}/infer')}",
        )
    return target


class ModelsRoute:
    """`GET /v1/models`: each model routed, and each of its variants pinned."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            wanted = scope["path_params"].get("model")
            entries = self.entries()
            if wanted is None:
                await send_json(send, 200, json.dumps({"object": "list", "data": entries}).encode())
                return
            target = Target.parse(wanted)
            seats = self.fleet.model(target.model)
            if target.build and target.variant in seats:
                self.fleet.check_build(seats[target.variant], target.build)
            name = f"{target.model}@{target.variant}" if target.variant else target.model
            found = [entry for entry in entries if entry["id"] == name]
            if not found:
                raise UnknownName(f"there is no model {wanted!r}", field="model", mend="GET /v1/models lists them")
            await send_json(send, 200, json.dumps(found[0] | {"id": wanted}).encode())
        except UnderstudyError as error:
            await refuse(send, error, openai_body)

    def entries(self) -> list[dict[str, Any]]:
        found = []
        for model, seats in self.fleet.seats.items():
            created = min(int(seat.manifest.created.timestamp()) for seat in seats.values())
            base = {"object": "model", "created": created, "owned_by": "understudy"}
            found.append({"id": model, **base})
            found.extend({"id": seat.name, **base, "parent": model} for seat in seats.values())
        return found
