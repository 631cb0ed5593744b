"""Middleware that checks API keys (`Authorization: Bearer KEY`) where the stack file names any.

Paths below `/admin` need an admin's key; `/metrics`, `/health`, `/ping` and `/v2/health` need none, so that monitoring
works. Anthropic's clients send the key as `x-api-key`, which is read where there is no `Authorization`.

The rest of the server never sees a key: the middleware removes the header. It sets `x-understudy-shadow: off` where the
key's requests must not be compared, and `x-understudy-who` to the key's name for the journal.
"""

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.api.http import Body, refuse
from serve.config.api_keys import Key, name_of
from serve.errors import Forbidden
from variants.errors import UnderstudyError

OPEN = ("/metrics", "/v2/health/", "/health", "/ping")
ADMIN = "/admin"
SET_HERE = (b"authorization", b"x-api-key", b"x-understudy-who")


class CheckKey:
    """ASGI middleware. `keys` returns the current keys by name; `body_of` the error format of a path."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Mapping[str, Key]], body_of: Callable[[str], Body]) -> None:
        self.app, self.keys, self.body_of = app, keys, body_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = self.keys()
        if scope["type"] == "http" and keys and not scope["path"].startswith(OPEN):
            try:
                admit(scope, keys)
            except UnderstudyError as error:
                await refuse(error, self.body_of(scope["path"]), scope, receive, send)
                return
        await self.app(scope, receive, send)


def admit(scope: Scope, keys: Mapping[str, Key]) -> None:
    """Replace the key by the headers that follow from it. Raises Unauthorized, Forbidden."""
    headers = Headers(scope=scope)
    bare = headers.get("x-api-key")
    name = name_of(headers.get("authorization") or (f"Bearer {bare}" if bare else None), keys)
    if scope["path"].startswith(ADMIN) and not keys[name].admin:
        raise Forbidden(f"the key {name!r} is not an admin's", mend="use a key with admin: true in server.keys")
    kept = [pair for pair in scope["headers"] if pair[0] not in SET_HERE]
    if not keys[name].shadow:
        kept = [*(pair for pair in kept if pair[0] != b"x-understudy-shadow"), (b"x-understudy-shadow", b"off")]
    scope["headers"] = [*kept, (b"x-understudy-who", name.encode())]
