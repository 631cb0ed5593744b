"""The header that makes Ray Serve leave the reading of a request to the application."""

import pytest
from ray.serve._private.http_util import parse_disconnect_disabled_header
from starlette.types import Receive, Scope, Send

from serve.api.request_id import middlewares


@pytest.mark.parametrize("sent", [[], [(b"x-request-disconnect-disabled", b"?0")], [(b"accept", b"*/*")]])
async def test_serve_reads_no_request_ahead(sent: list[tuple[bytes, bytes]]) -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"]))

    for middleware in reversed(middlewares()):
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    await app({"type": "http", "headers": sent}, None, None)  # type: ignore[arg-type]
    assert len(seen) == 1
    assert parse_disconnect_disabled_header(seen[0])
    assert len(seen[0][b"x-request-id"]) == 32
    assert all(seen[0][name] == value for name, value in sent if name == b"accept")
