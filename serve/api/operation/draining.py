"""Middleware that counts open requests and refuses new ones at the end of a drain; see `serve.dataplane.drain`.

Probes and metrics are answered to the end, and nothing waits for them."""

from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.access.authentication import OPEN
from serve.api.http import Body, refuse
from serve.dataplane.drain import Drain
from serve.errors import NotReady


class CountOpen:
    """ASGI middleware. `body_of` gives the error format of a path."""

    def __init__(self, app: ASGIApp, drain: Drain, body_of: Callable[[str], Body]) -> None:
        self.app, self.drain, self.body_of = app, drain, body_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(OPEN):
            await self.app(scope, receive, send)
            return
        try:
            self.drain.check_open()
        except NotReady as error:
            await refuse(error, self.body_of(scope["path"]), scope, receive, send)
            return
        with self.drain.request():
            await self.app(scope, receive, send)
