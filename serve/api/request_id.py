"""The request id: issued by the server, in place of whatever the client sent.

Ray Serve echoes the `x-request-id` that it finds in a request, so this puts ours there before Serve looks, through
the middleware hook that Serve gives out (RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH). The application reads it and
leaves the header to Serve. Where no Serve stands in front, `echo` sets it.
"""

import uuid

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NAME = b"x-request-id"


class IssueRequestId:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, echo: bool = False) -> None:
        self.app, self.echo = app, echo

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        issued = uuid.uuid4().hex.encode()
        scope["headers"] = [pair for pair in scope["headers"] if pair[0] != NAME] + [(NAME, issued)]

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (NAME, issued)]
            await send(message)

        await self.app(scope, receive, send_named if self.echo else send)


def middlewares() -> list[Middleware]:
    """What Ray Serve puts outermost around the ingress."""
    return [Middleware(IssueRequestId)]
