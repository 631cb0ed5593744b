"""Middleware that checks API keys (`Authorization: Bearer KEY`) where the stack file names any.

Paths below `/admin` need the right `admin`, `/v1/feedback` needs `feedback`, other requests that change or compute
something need `infer`, and a labelled one `label` too. `/metrics`, `/health`, `/ping` and `/v2/health` need no key, so
that monitoring works. Anthropic's clients send the key as `x-api-key`, which is read where there is no `Authorization`.
The limits of a key count all but `/admin` and reading.

The rest of the server never sees a key: the middleware removes the header. It sets `x-understudy-shadow: off` where the
key's requests must not be compared, and `x-understudy-who` to the key's name for the journal.
"""

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import metrics
from serve.api.access.key_limits import IN_SCOPE, KeyUse
from serve.api.http import Body, refuse
from serve.config.server.api_keys import Key, Right, name_of
from serve.errors import Forbidden, Unauthorized
from variants.errors import UnderstudyError

OPEN = ("/metrics", "/v2/health/", "/health", "/ping")
ADMIN = "/admin"
FEEDBACK = "/v1/feedback"
READ = ("GET", "HEAD", "OPTIONS")
LABEL = "x-understudy-label"
SET_HERE = (b"authorization", b"x-api-key", b"x-understudy-who")
SIGNED_IN = "understudy.signed_in"
"""The entry of an ASGI scope with the name of a key that was checked already: the console's calls have no header."""


class CheckKey:
    """ASGI middleware. `keys` returns the current keys by name; `body_of` the error format of a path."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Mapping[str, Key]], body_of: Callable[[str], Body]) -> None:
        self.app, self.keys, self.body_of = app, keys, body_of
        self.uses: dict[str, KeyUse] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = self.keys()
        if scope["type"] != "http" or not keys or scope["path"].startswith(OPEN):
            await self.app(scope, receive, send)
            return
        try:
            name = admit(scope, keys)
            use = scope[IN_SCOPE] = self.uses.setdefault(name, KeyUse(name))
            counted = right_for(scope) not in (None, "admin")
            if counted:
                use.begin(keys[name].limits)
        except UnderstudyError as error:
            await refuse(error, self.body_of(scope["path"]), scope, receive, send)
            return
        metrics.key_requests.labels(name).inc()
        try:
            await self.app(scope, receive, send)
        finally:
            if counted:
                use.end()


def right_for(scope: Scope) -> Right | None:
    """The right that a request needs; None where every key may make it."""
    if scope["path"].startswith(ADMIN):
        return "admin"
    if scope["method"] in READ:
        return None
    return "feedback" if scope["path"] == FEEDBACK else "infer"


def admit(scope: Scope, keys: Mapping[str, Key]) -> str:
    """The name of the key. Replaces the key by the headers that follow from it. Raises Unauthorized, Forbidden."""
    headers = Headers(scope=scope)
    name: str = scope.get(SIGNED_IN) or ""
    if name not in keys:
        bare = headers.get("x-api-key")
        name = name_of(headers.get("authorization") or (f"Bearer {bare}" if bare else None), keys)
    if keys[name].has_expired():
        metrics.key_refused.labels(name, "expired").inc()
        message = f"the key {name!r} expired after {keys[name].expires}"
        raise Unauthorized(message, field="Authorization", mend="ask the operator for another key")
    needed = right_for(scope)
    check_right(name, keys[name], needed)
    if needed == "infer" and LABEL in headers:
        check_right(name, keys[name], "label")
    kept = [pair for pair in scope["headers"] if pair[0] not in SET_HERE]
    if not keys[name].shadow:
        kept = [*(pair for pair in kept if pair[0] != b"x-understudy-shadow"), (b"x-understudy-shadow", b"off")]
    scope["headers"] = [*kept, (b"x-understudy-who", name.encode())]
    return name


def check_right(name: str, key: Key, right: Right | None) -> None:
    """Raises Forbidden."""
    if right is not None and right not in key.rights:
        metrics.key_refused.labels(name, "right").inc()
        field = LABEL if right == "label" else None
        mend = f"use a key that has {right} among its rights in server.keys"
        raise Forbidden(f"the key {name!r} lacks the right {right!r}", field=field, mend=mend)
