"""A client is read no faster than the application takes its body.

Ray Serve reads each request into a queue without a bound, to learn soon that a client has left. So a large body lies in
memory as fast as it comes, whatever the application does. Serve leaves the reading to the application where a header
says so. The application learns itself that a client has left: `serve.dataplane.relay.cancelled_by_disconnect`.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

NAME = b"x-request-disconnect-disabled"


class ReadOnDemand:
    """ASGI middleware that sets Ray Serve's header, and replaces a client's own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] != NAME] + [(NAME, b"?1")]
        await self.app(scope, receive, send)
