"""Open Inference Protocol v2 over gRPC, on `server.grpc_port`.

Each call becomes a request to the application that also answers HTTP, in the same process. So keys, limits, stickiness,
labels, shadows and metrics are those of HTTP. The call's metadata are the request's headers. The answer's headers are
the call's trailing metadata.
"""

import asyncio
import inspect
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

import grpc.aio
from starlette.types import ASGIApp, Message, Scope

from serve import metrics
from serve.config.server.settings import Server
from serve.errors import status_of
from serve.protocols.grpc_codec import has_typed_contents, http_body, infer_response
from serve.protocols.grpc_messages import SERVICE, message_class
from serve.protocols.open_inference import HEADER_LENGTH
from variants.errors import EngineError, InputError

log = logging.getLogger("understudy.api")
GRACE_S = 4.0
"""Time for open calls to end when the server stops."""
FRAMING = 2**16
"""Bytes that a gRPC message may have beyond `body_limit_mib`, for what HTTP sends as headers."""
CALLS, STREAMS = 64, 32
"""Open calls of all clients, and of one connection. A message is received whole before it is checked, so calls are
bounded by their number. A connection's further calls wait at the client, and a call beyond CALLS is refused."""
IDLE_MS, HANDSHAKE_MS = 60_000, 10_000
"""A connection without a call for this time, or that is not set up by then, is closed, like HTTP's."""
METADATA = 16_384
"""Bytes of a call's metadata, like HAProxy's limit for HTTP's headers."""
CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    409: grpc.StatusCode.ABORTED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    502: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}
"""By HTTP status; another one is UNKNOWN."""
NOT_PASSED_ON = ("content-", "inference-header-", "transfer-", "host", "grpc-")
"""Beginnings of metadata that say how a message is sent, and nothing about the request."""


class Reply(NamedTuple):
    """A complete HTTP answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class GrpcServer:
    """The service over an ASGI application. `start` and `stop` need a running event loop."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        host = f"[{server.host}]" if ":" in server.host else server.host
        self.app, self.address = app, f"{host}:{server.grpc_port}"
        self.limit = server.body_limit_mib * 2**20 + FRAMING

    async def start(self) -> None:
        """Raises EngineError where the address cannot be used."""
        # Ray's workers replace this function by one that keeps Ray's own servers on loopback. Ours has `server.host`.
        make = inspect.unwrap(grpc.aio.server)
        self.server = make(
            options=[
                ("grpc.max_receive_message_length", self.limit),
                ("grpc.max_metadata_size", METADATA),
                ("grpc.max_concurrent_streams", STREAMS),
                ("grpc.max_connection_idle_ms", IDLE_MS),
                ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
            ],
            maximum_concurrent_rpcs=CALLS,
        )
        calls = {
            "ServerLive": self.server_live,
            "ServerReady": self.server_ready,
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelInfer": self.infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                call,
                request_deserializer=message_class(f"{name}Request").FromString,
                response_serializer=message_class(f"{name}Response").SerializeToString,
            )
            for name, call in calls.items()
        }
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        try:
            self.server.add_insecure_port(self.address)
        except RuntimeError as error:
            raise EngineError(f"gRPC cannot listen on {self.address}: {error}", field="server.grpc_port") from error
        await self.server.start()

    async def stop(self) -> None:
        """Take no new calls, and wait up to GRACE_S for the open ones."""
        await self.server.stop(GRACE_S)

    async def server_live(self, request: Any, context: Any) -> Any:
        reply = await self.ask(context, "GET", "/v2/health/live")
        return message_class("ServerLiveResponse")(live=reply.status == HTTPStatus.OK)

    async def server_ready(self, request: Any, context: Any) -> Any:
        reply = await self.ask(context, "GET", "/v2/health/ready")
        return message_class("ServerReadyResponse")(ready=reply.status == HTTPStatus.OK)

    async def model_ready(self, request: Any, context: Any) -> Any:
        """A model that does not exist is not ready, as Triton answers."""
        path = await model_path(context, request.name, request.version, "name")
        reply = await self.ask(context, "GET", f"{path}/ready")
        if reply.status not in (HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE):
            await refuse(context, reply)
        return message_class("ModelReadyResponse")(ready=reply.status == HTTPStatus.OK)

    async def server_metadata(self, request: Any, context: Any) -> Any:
        return message_class("ServerMetadataResponse")(**await self.document(context, "/v2"))

    async def model_metadata(self, request: Any, context: Any) -> Any:
        document = await self.document(context, await model_path(context, request.name, request.version, "name"))
        names = ("name", "versions", "platform", "inputs", "outputs")
        return message_class("ModelMetadataResponse")(**{name: document[name] for name in names})

    async def infer(self, request: Any, context: Any) -> Any:
        path = await model_path(context, request.model_name, request.model_version, "model_name")
        try:
            # The event loop also relays streams, so a long conversion is done in a thread.
            body, length = (
                await asyncio.to_thread(http_body, request) if has_typed_contents(request) else http_body(request)
            )
        except InputError as error:
            metrics.errors.labels(str(status_of(error))).inc()
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        reply = await self.ask(context, "POST", f"{path}/infer", body, length)
        if reply.status != HTTPStatus.OK:
            await refuse(context, reply)
        return infer_response(reply.body, int(reply.headers[HEADER_LENGTH]), reply.headers["x-understudy-variant"])

    async def document(self, context: Any, path: str) -> dict[str, Any]:
        """The JSON object at a path; the call ends with the status of any other answer."""
        reply = await self.ask(context, "GET", path)
        if reply.status != HTTPStatus.OK:
            await refuse(context, reply)
        return dict(json.loads(reply.body))

    async def ask(self, context: Any, method: str, path: str, body: bytes = b"", header_length: int = 0) -> Reply:
        """The application's answer. Its headers become trailing metadata. Where the client leaves, the application is
        told so, and has ended when this raises CancelledError."""
        headers = [(b"host", self.address.encode()), *headers_of(context)]
        if method == "POST":
            headers += [
                (b"content-type", b"application/octet-stream"),
                (b"content-length", str(len(body)).encode()),
                (HEADER_LENGTH.encode(), str(header_length).encode()),
            ]
        reply = await Exchange(self.app, scope_of(method, path, headers), body).reply()
        passed_on = ("x-", "retry-after", "www-authenticate")
        context.set_trailing_metadata(tuple(pair for pair in reply.headers.items() if pair[0].startswith(passed_on)))
        return reply


class Exchange:
    """One request to an ASGI application, and its answer."""

    def __init__(self, app: ASGIApp, scope: Scope, body: bytes) -> None:
        self.app, self.scope = app, scope
        self.unread: bytes | None = body
        self.gone = asyncio.Event()
        self.status, self.headers, self.parts = 500, list[tuple[bytes, bytes]](), list[bytes]()

    async def reply(self) -> Reply:
        work = asyncio.ensure_future(self.run())
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            self.gone.set()
            with suppress(asyncio.CancelledError):
                await work
            raise
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.headers}
        return Reply(self.status, headers, b"".join(self.parts))

    async def run(self) -> None:
        try:
            await self.app(self.scope, self.receive, self.send)
        except Exception:  # the application has answered 500, or has not begun to answer
            log.exception("a gRPC call failed")

    async def receive(self) -> Message:
        if self.unread is not None:
            body, self.unread = self.unread, None
            return {"type": "http.request", "body": body, "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message.get("headers", []))
        else:
            self.parts.append(message.get("body", b""))


async def model_path(context: Any, name: str, version: str, field: str) -> str:
    """The HTTP path of a model; the call ends where it is no part of a path."""
    if not name or "/" in version:
        wrong = f"{field}: is missing (the name of a model)" if not name else "model_version: has a '/'"
        metrics.errors.labels("400").inc()
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, wrong)
    name = name.replace("/", "%2F")
    return f"/v2/models/{name}/versions/{version}" if version else f"/v2/models/{name}"


async def refuse(context: Any, reply: Reply) -> None:
    """End the call with the status and the message of an HTTP error."""
    code = CODES.get(reply.status, grpc.StatusCode.UNKNOWN)
    try:
        text = str(json.loads(reply.body)["error"])
    except (ValueError, TypeError, KeyError):
        text = f"the server answered {reply.status}"
    await context.abort(code, text)


def headers_of(context: Any) -> list[tuple[bytes, bytes]]:
    """A call's metadata as HTTP headers. Binary values (`-bin`) have no place there."""
    return [
        (key.encode(), value.encode())
        for key, value in context.invocation_metadata() or ()
        if isinstance(value, str) and not key.startswith(NOT_PASSED_ON)
    ]


def scope_of(method: str, path: str, headers: list[tuple[bytes, bytes]]) -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "2",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": quote(path).encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": None,
        "server": None,
    }
