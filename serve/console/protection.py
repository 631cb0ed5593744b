"""Middleware of every page: which hosts and web pages may ask, who is signed in, and what a browser may load.

Hosts and origins are checked as those of `/admin` are (`serve.api.access.senders`).
"""

from collections.abc import Callable
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.api.access.senders import check_host, check_origin
from serve.api.http import answer_error
from serve.config.snapshot import Snapshot
from serve.console.sessions import IN_SCOPE, LIFETIME_S, Sessions
from serve.errors import openai_body
from variants.errors import UnderstudyError

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
"""No inline script or style, and nothing from another site."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}
"""Headers of every page that does not have its own. Without a referrer, browsers would send forms with no origin."""
WITHOUT_KEY = ("/sign-in", "/console/")


class Protection:
    """ASGI middleware. `snapshot` returns what is live."""

    def __init__(self, app: ASGIApp, snapshot: Callable[[], Snapshot], sessions: Sessions) -> None:
        self.app, self.snapshot, self.sessions = app, snapshot, sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        session = self.sessions.read(request.cookies.get(self.sessions.cookie))
        is_new = session is None
        session = scope[IN_SCOPE] = session or self.sessions.new()

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if is_new and "set-cookie" not in headers and not scope["path"].startswith("/console/"):
                    headers.append("set-cookie", cookie_of(self.sessions, self.sessions.written(session), request))
            await send(message)

        await (self.refusal(request) or self.app)(scope, receive, send_protected)

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request that no page answers: a wrong host or origin, or nobody has signed in."""
        headers, server = Headers(scope=request.scope), self.snapshot().stack.server
        try:
            check_host(headers, server)
            check_origin(headers, server)
        except UnderstudyError as error:
            return answer_error(error, openai_body)
        path = request.url.path
        if path.startswith(WITHOUT_KEY) or self.sessions.has_signed_in(request.scope[IN_SCOPE]):
            return None
        target = "/sign-in" + (f"?next={quote(path)}" if request.method == "GET" and path != "/" else "")
        if "hx-request" in headers:
            return Response(status_code=401, headers={"hx-redirect": "/sign-in"})
        return RedirectResponse(target, 303)


def cookie_of(sessions: Sessions, value: str, request: Request) -> str:
    """The header that sets the session's cookie. Behind a proxy with TLS, the browser sends it over TLS only. It comes
    with a link from another site too (`lax`): forms are guarded by their token and the origin."""
    is_secure = "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))
    response = Response()
    response.set_cookie(sessions.cookie, value, max_age=LIFETIME_S, httponly=True, samesite="lax", secure=is_secure)
    return response.headers["set-cookie"]
