"""Middleware that names each request in the logs, and writes one line a request with `server.access_log: true`.

The line has the route's pattern, never the path or any other text of the client."""

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import logs
from serve.api.access.key_limits import IN_SCOPE, KeyUse
from serve.config.server.settings import Server

log = logging.getLogger("understudy.access")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class LogAccess:
    """ASGI middleware. `server` gives the current settings. `relayed` says on which paths a POST notes its own status;
    there, nothing is added to a chunk of a stream."""

    def __init__(self, app: ASGIApp, server: Callable[[], Server], relayed: Callable[[str], bool]) -> None:
        self.app, self.server, self.relayed = app, server, relayed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = logs.Noted(request_id=Headers(scope=scope).get("x-request-id") or "")
        token = logs.current.set(request)
        notes_itself = scope["method"] == "POST" and self.relayed(scope["path"])

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send if notes_itself else send_noted)
        except Exception:
            request.status = 500
            raise
        finally:
            if self.server().access_log:
                use = scope.get(IN_SCOPE)
                request.key = use.name if isinstance(use, KeyUse) else ""
                self.write(scope, request, time.perf_counter() - began)
            logs.current.reset(token)

    def write(self, scope: Scope, request: logs.Noted, seconds: float) -> None:
        method = method_of(scope)
        extra = {
            "method": method,
            "route": route_of(scope),
            "status": request.status,
            "reason": request.reason,
            "seconds": round(seconds, 4),
        }
        log.info("request", extra=extra)


def method_of(scope: Scope) -> str:
    """The request's method, if it is one of HTTP's own."""
    return scope["method"] if scope["method"] in METHODS else "other"


def route_of(scope: Scope) -> str:
    """The pattern of the request's route; empty where no route fits."""
    if "endpoint" not in scope:
        return ""
    path: str = scope["path"]
    for name, value in scope["path_params"].items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path
