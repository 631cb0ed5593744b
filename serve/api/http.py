"""Functions that both protocols share: read a request, answer it, and count its result."""

import json
import logging
import time
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import unquote

import msgspec
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import logs, metrics
from serve.api.limits.bodies import PLAIN, announced, check_encoding, check_length, inflated, next_part, share_of
from serve.api.limits.structure import Structure, check_structure
from serve.dataplane.body_worker import IN_PLACE, apart, off_loop
from serve.dataplane.call import Answer, Call
from serve.dataplane.relay import Relay, names_of
from serve.errors import CLIENT_WENT_AWAY, STATUS, ClientLeft, NotReady, Overloaded, TimedOut, headers_of, status_of
from variants.errors import InputError, UnderstudyError

log = logging.getLogger("understudy.api")
Body = Callable[[UnderstudyError], bytes]
"""The body of an error in the format of a protocol."""
TIMED = (200, STATUS[TimedOut])
"""Statuses of requests whose latency counts: refusing requests at once does not make a variant fast, and a timeout is
slow."""


class TextHeaders(Headers):
    """Headers whose values are read as UTF-8 where they are valid UTF-8, else as Latin-1. Labels and clients are text,
    and most programs send UTF-8."""

    def __getitem__(self, key: str) -> str:
        value = super().__getitem__(key)
        try:
            return value.encode("latin-1").decode()
        except UnicodeDecodeError:
            return value


class EncodedSlashes:
    """ASGI middleware: a slash that a client encodes in a path belongs to a name (`meta-llama%2FLlama-3.1-8B`), so it
    stays encoded until the route is found. `named_in` decodes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = scope.get("raw_path") or b""
        if b"%2f" in raw.lower():
            scope["path"] = unquote(raw.replace(b"%2f", b"%2F").replace(b"%2F", b"%252F").decode("latin-1"))
        await self.app(scope, receive, send)


def named_in(params: Mapping[str, str]) -> str:
    """The model that a path names."""
    return params["model"].replace("%2F", "/")


async def read_body(scope: Scope, receive: Receive, limit: int, structure: Structure | None = None) -> bytes:
    """The whole request body, decompressed; at most `limit` bytes before and after. A compressed body is scanned with
    `structure` while it is inflated. Raises ClientLeft, InputError, TooLarge, Overloaded, UploadTimedOut."""
    share, headers = share_of(scope), Headers(scope=scope)
    encoding = headers.get("content-encoding", "identity")
    check_length(announced(headers), limit)
    check_encoding(encoding)
    parts, size = [], 0
    while True:
        message = await next_part(receive, share)
        if message["type"] == "http.disconnect":
            raise ClientLeft("the client left before its request was complete")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        check_length(size, limit)
        share.take(len(parts[-1]))
        if not message.get("more_body"):
            break
        if size > IN_PLACE:
            await share.turn()
    body = await apart(size, b"".join, parts)
    if encoding.strip().lower() in PLAIN:
        return body
    parts.clear()
    decompressed = await off_loop(inflated, body, encoding, limit, share, structure)
    share.give(size)
    return decompressed


def parse_object(body: bytes, structure: Structure | None = None) -> dict[str, Any]:
    """A JSON object, its structure checked before it is parsed, where `structure` has not been while it was inflated.
    Raises InputError with the position of the first fault."""
    check_structure(body, structure or Structure())
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        with suppress(ValueError, RecursionError):
            encode_object(json.loads(body))  # names the field that holds NaN, Infinity or half a character
        raise InputError(f"the body is not JSON: {error}", mend="send a JSON object") from None
    if not isinstance(document, dict):
        raise InputError("the body is not a JSON object", mend="send a JSON object")
    return document


async def read_object(scope: Scope, receive: Receive, limit: int) -> tuple[bytes, dict[str, Any]]:
    """A request's body and the JSON object in it; a large one is parsed off the event loop. Raises what `read_body`
    and `parse_object` raise."""
    structure = Structure()
    body = await read_body(scope, receive, limit, structure)
    share_of(scope).take(len(body))  # the parsed object and what is made of it for the engine
    return body, await apart(len(body), parse_object, body, structure)


def encode_object(document: dict[str, Any]) -> bytes:
    """A client's JSON object as UTF-8. Raises InputError where it could be parsed but not written: it is nested too
    deep, has numbers that are not finite, or halves of characters (lone surrogates)."""
    try:
        return encoded(document)
    except RecursionError:
        raise InputError("the body is nested too deep", mend="nest fewer lists and objects") from None
    except UnicodeEncodeError:
        raise InputError(
            "it holds half a character (a lone surrogate)", field=unwritable(document), mend="send whole characters"
        ) from None
    except ValueError:
        raise InputError("it holds NaN or Infinity", field=unwritable(document), mend="send finite numbers") from None


def encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode()


def unwritable(document: dict[str, Any]) -> str | None:
    """The first field that cannot be written; None where that is a field's own name."""
    for name, value in document.items():
        try:
            encoded(value)
        except ValueError:
            return name
    return None


def answer_json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(document).encode(), status, headers, "application/json")


def answer_readiness(document: Any, ready: bool) -> Response:
    """The answer of a probe: 200, or 503 with the `Retry-After` of other answers that are not ready."""
    if ready:
        return answer_json(document)
    error = NotReady("not ready")
    return answer_json(document, status_of(error), headers_of(error))


def answer_error(error: UnderstudyError, body: Body, named: dict[str, str] | None = None) -> Response:
    """An error in the protocol's format; `named` are headers that name the chosen variant."""
    return Response(body(error), status_of(error), headers_of(error) | (named or {}), "application/json")


async def refuse(error: UnderstudyError, body: Body, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is refused before a variant is chosen, and count it."""
    metrics.errors.labels(str(status_of(error))).inc()
    logs.noted().status = status_of(error)
    await answer_error(error, body)(scope, receive, send)


async def conclude(
    relay: Relay, call: Call, error: UnderstudyError | None, body: Body, scope: Scope, receive: Receive, send: Send
) -> None:
    """Count a finished request; if no answer has begun, answer with the error."""
    if error is not None and not call.started and call.status != CLIENT_WENT_AWAY:
        call.status = status_of(error)
        await answer_error(error, body, names_of(call))(scope, receive, send)
    note(call)
    if isinstance(error, Overloaded) and call.key is not None:
        metrics.key_refused.labels(call.key, "queue").inc()
    if call.assignment is None:
        metrics.errors.labels(str(call.status)).inc()
        return
    labels = (call.assignment.model, call.assignment.variant)
    metrics.requests.labels(*labels, call.assignment.reason, str(call.status)).inc()
    if call.status in TIMED:
        metrics.latency.labels(*labels).observe(time.perf_counter() - call.arrived)
    relay.accounting.served(call)


def note(call: Call) -> None:
    """Fill in what the logs say of a finished request."""
    request = logs.noted()
    request.status = call.status
    if call.assignment is not None:
        request.model, request.variant = call.assignment.model, call.assignment.variant
        request.reason = call.assignment.reason


async def carry(
    relay: Relay, call: Call, answer: Answer, body: Body, scope: Scope, receive: Receive, send: Send
) -> None:
    """Relay one request. Errors are answered in the protocol's format, and every result is counted."""
    fault: UnderstudyError | None = None
    try:
        await relay.carry(call, answer, receive, send)
    except UnderstudyError as error:
        fault = error
    except Exception:
        log.exception("a request failed")
        fault = UnderstudyError("the server failed on this request", mend=f"see {logs.where()}")
        call.status = status_of(fault)
    finally:
        await conclude(relay, call, fault, body, scope, receive, send)


def check_label(label: str | None, kind: str, task: str | None) -> None:
    """Raises InputError for a label that says nothing of one answer: the score of a pair is compared with others."""
    if label is not None and kind == "pair":
        message = f"{task} is scored by the order of many pairs, so one answer to it has no label"
        raise InputError(message, field="x-understudy-label", mend="leave it out, and use understudy evaluate or load")


def count_label(call: Call, task: str | None, outcome: float, known: Container[str]) -> None:
    """Count a labelled request, as right where its outcome is 1 or True. A task that is not in `known` counts as
    `other`, so that clients cannot create metric series."""
    assert call.assignment is not None
    name = task if task in known else "other"
    labels = (call.assignment.model, call.assignment.variant, name)
    metrics.labelled.labels(*labels, "right" if outcome == 1 else "wrong").inc()
    metrics.labelled_score.labels(*labels).inc(outcome)
