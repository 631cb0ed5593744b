"""Middleware that names each request in the logs, and writes one line a request with `server.access_log: true`.

The line has the route's pattern, never the path or any other text of the client."""

import logging
import time
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve import logs
from serve.config.stack import Server

log = logging.getLogger("understudy.access")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class LogAccess:
    """ASGI middleware. `server` gives the current settings. `relayed` says which paths note their status themselves, so
    that nothing is added to a chunk of a stream."""

    def __init__(self, app: ASGIApp, server: Callable[[], Server], relayed: Callable[[str], bool]) -> None:
        self.app, self.server, self.relayed = app, server, relayed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        request = logs.Noted(request_id=Headers(scope=scope).get("x-request-id") or "")
        token = logs.current.set(request)

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send if self.relayed(scope["path"]) else send_noted)
        finally:
            server = self.server()
            if server.access_log:
                who = Headers(scope=scope).get("x-understudy-who")
                request.key = who if who in server.keys else ""
                self.write(scope, request, time.perf_counter() - began)
            logs.current.reset(token)

    def write(self, scope: Scope, request: logs.Noted, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        extra = {
            "method": method,
            "route": route_of(scope),
            "status": request.status,
            "reason": request.reason,
            "seconds": round(seconds, 4),
        }
        log.info("request", extra=extra)


def route_of(scope: Scope) -> str:
    """The pattern of the request's route; empty where no route fits."""
    if "endpoint" not in scope:
        return ""
    path: str = scope["path"]
    for name, value in scope["path_params"].items():
        path = path.replace(f"/{value}", f"/{{{name}}}", 1)
    return path
