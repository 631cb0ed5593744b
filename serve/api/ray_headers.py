"""The request headers that Ray Serve takes for its own settings. A client has no say in them.

Serve reads each request into a queue without a bound, to learn soon that a client has left. So a large body lies in
memory as fast as it comes, whatever the application does. Serve leaves the reading to the application where a header
says so. The application learns itself that a client has left: `serve.dataplane.relay.cancelled_by_disconnect`.

Serve also takes a time limit, a model and a session from headers. It ends a request that is late with a text of its
own, and fails with 500 where one of these is not UTF-8.
"""

from starlette.types import ASGIApp, Receive, Scope, Send

READ_BY_APPLICATION = (b"x-request-disconnect-disabled", b"?1")
SETTINGS = {
    b"x_request_disconnect_disabled",
    b"x_request_timeout_seconds",
    b"serve_multiplexed_model_id",
    b"x_session_id",
}
"""Serve takes `-` and `_` in a name for the same."""


class RayHeaders:
    """ASGI middleware that removes them and sets the one of the application."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            kept = [(name, value) for name, value in scope["headers"] if name.replace(b"-", b"_") not in SETTINGS]
            scope["headers"] = [*kept, READ_BY_APPLICATION]
        await self.app(scope, receive, send)
