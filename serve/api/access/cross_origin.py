"""Cross-origin requests: which web pages may call the server from a browser (`server.cors.origins` of the stack file).

Without the setting no header is sent, and browsers refuse. A preflight carries no key, so this middleware stands before
the check of keys. Paths below `/admin` are never opened: a web page has no business there.
"""

from collections.abc import Callable, Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.access.authentication import ADMIN
from serve.protocols.answer_id import HEADER as ID

EXPOSED = ("x-request-id", "x-understudy-variant", "x-understudy-reason", "x-understudy-artifact", ID, "retry-after")
"""Headers of an answer that a page's script may read."""


class CrossOrigin:
    """ASGI middleware. `origins` returns the allowed origins, which may change while the server runs."""

    def __init__(self, app: ASGIApp, origins: Callable[[], Sequence[str]]) -> None:
        self.app, self.origins = app, origins
        self.opened: tuple[tuple[str, ...], ASGIApp] = ((), app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origins = tuple(self.origins())
        if scope["type"] != "http" or not origins or scope["path"].startswith(ADMIN):
            await self.app(scope, receive, send)
            return
        if self.opened[0] != origins:
            opened = CORSMiddleware(
                self.app,
                allow_origins=origins,
                allow_methods=("GET", "POST"),
                allow_headers=("*",),
                expose_headers=EXPOSED,
            )
            self.opened = origins, opened
        await self.opened[1](scope, receive, send)
