"""The request id: the server issues it and replaces the client's.

Ray Serve returns the `x-request-id` of the request, so this middleware sets it before Serve reads it, through Serve's
hook RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. The application reads the id and leaves the response header to Serve.
Without Serve, `echo` sets that header.
"""

import uuid

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.ray_headers import RayHeaders

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
    """The outermost middlewares of the ingress; Ray Serve calls this."""
    return [Middleware(RayHeaders), Middleware(IssueRequestId)]
