"""API keys at the door. A request needs one (`Authorization: Bearer KEY`) where the stack file names any, and below
`/admin` an admin's; `/metrics` and `/v2/health` stay open to whoever watches.

Behind this no part of the server sees a key: the header is taken out, and what the key decides is put where a client
would have said it, `x-understudy-shadow: off` for one whose requests are not to be compared, `x-understudy-who` for the
journal.
"""

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from serve import metrics
from serve.api.http import Body, answer_error
from serve.config.api_keys import Key, name_of
from serve.errors import Forbidden, status_of
from variants.errors import UnderstudyError

OPEN = ("/metrics", "/v2/health/")
ADMIN = "/admin"
SET_HERE = (b"authorization", b"x-understudy-who")


class CheckKey:
    """ASGI middleware. `keys` gives those that are live, by name; `body_of` the shape of a path's errors."""

    def __init__(self, app: ASGIApp, keys: Callable[[], Mapping[str, Key]], body_of: Callable[[str], Body]) -> None:
        self.app, self.keys, self.body_of = app, keys, body_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        keys = self.keys()
        if scope["type"] == "http" and keys and not scope["path"].startswith(OPEN):
            try:
                admit(scope, keys)
            except UnderstudyError as error:
                metrics.errors.labels(str(status_of(error))).inc()
                await answer_error(error, self.body_of(scope["path"]))(scope, receive, send)
                return
        await self.app(scope, receive, send)


def admit(scope: Scope, keys: Mapping[str, Key]) -> None:
    """Put what the key decides in place of it. Raises Unauthorized, Forbidden."""
    name = name_of(Headers(scope=scope).get("authorization"), keys)
    if scope["path"].startswith(ADMIN) and not keys[name].admin:
        raise Forbidden(f"the key {name!r} is no admin's", mend="server.keys of the stack file says whose are")
    kept = [pair for pair in scope["headers"] if pair[0] not in SET_HERE]
    if not keys[name].shadow:
        kept = [*(pair for pair in kept if pair[0] != b"x-understudy-shadow"), (b"x-understudy-shadow", b"off")]
    scope["headers"] = [*kept, (b"x-understudy-who", name.encode())]
