"""Middleware that refuses requests which a web page of another site may have caused a browser to send.

A page can send to a server on loopback in two ways. It can post a form or text to it (no preflight, the answer stays
hidden), or it can have its own name resolved to 127.0.0.1 (DNS rebinding). So paths below `/admin` need a known `Host`,
no `Origin` but the server's own, and JSON as the type of a body. Without API keys, other paths need a known `Host` too.
`/metrics` and `/v2/health/` need nothing, so that monitoring works.
"""

from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.access.authentication import ADMIN, OPEN, READ
from serve.api.http import Body, refuse
from serve.config.server.hosts import DEFAULT_PORTS, address_of, host_of, is_loopback, is_wildcard
from serve.config.server.settings import Server
from serve.errors import Forbidden, WrongMediaType
from variants.errors import UnderstudyError


class CheckSender:
    """ASGI middleware. `server` returns the current settings; `body_of` the error format of a path."""

    def __init__(self, app: ASGIApp, server: Callable[[], Server], body_of: Callable[[str], Body]) -> None:
        self.app, self.server, self.body_of = app, server, body_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(OPEN):
            try:
                check_sender(scope, self.server())
            except UnderstudyError as error:
                await refuse(error, self.body_of(scope["path"]), scope, receive, send)
                return
        await self.app(scope, receive, send)


def check_sender(scope: Scope, server: Server) -> None:
    """Raises Forbidden, WrongMediaType."""
    headers, admin = Headers(scope=scope), scope["path"].startswith(ADMIN)
    if admin or not server.keys:
        check_host(headers, server)
    if admin:
        check_origin(headers, server)
        if scope["method"] not in READ:
            check_type(headers)


def check_host(headers: Headers, server: Server) -> None:
    """Raises Forbidden unless the request has one `Host`, which is this server's."""
    given = headers.getlist("host")
    host = host_of(given[0]) if len(given) == 1 else None
    if host is None or not is_own(host, server):
        raise Forbidden(
            "is not a host of this server" if given else "is missing",
            field="Host",
            mend="use the server's address, or add the name to server.hosts in the stack file",
        )


def is_own(host: str, server: Server) -> bool:
    """Whether clients may call this server by `host`. An address cannot be rebound, so a server that listens on all
    addresses may be called by each of them."""
    if is_loopback(host) or host == server.host or host in server.hosts:
        return True
    return is_wildcard(server.host) and address_of(host) is not None


def check_origin(headers: Headers, server: Server) -> None:
    """Raises Forbidden for a request of a web page, unless this server or a host of `server.hosts` served the page."""
    for origin in headers.getlist("origin"):
        if not is_own_origin(origin.strip().lower(), headers.get("host", "").strip().lower(), server):
            raise Forbidden(
                "web pages of other sites may not use /admin",
                field="Origin",
                mend="call it from a program, or add the page's host to server.hosts in the stack file",
            )


def is_own_origin(origin: str, host: str, server: Server) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        return False
    suffix = f":{DEFAULT_PORTS[parts.scheme]}"
    return parts.netloc.removesuffix(suffix) == host.removesuffix(suffix) or host_of(parts.netloc) in server.hosts


def check_type(headers: Headers) -> None:
    """Raises WrongMediaType for a body that is not declared as JSON. A request without a body needs no type."""
    given = headers.get("content-type")
    has_body = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
    if given is None and not has_body:
        return
    if (given or "").partition(";")[0].strip().lower() != "application/json":
        raise WrongMediaType(
            f"{given!r:.80} is not accepted below /admin" if given else "is missing",
            field="Content-Type",
            mend="send application/json",
        )
