"""What Ray Serve reads from a request's headers is the application's word."""

import pytest
from ray.serve._private.constants import SERVE_MULTIPLEXED_MODEL_ID
from ray.serve._private.http_util import (
    parse_disconnect_disabled_header,
    parse_request_timeout_header,
    parse_session_id_header,
)
from starlette.types import Receive, Scope, Send

from serve.api.request_id import middlewares


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [(b"accept", b"*/*")],
        [(b"x-request-disconnect-disabled", b"?0")],
        [(b"x-request-timeout-seconds", b"0.001")],
        [(b"x-request-timeout-seconds", b"\xff")],
        [(b"serve_multiplexed_model_id", b"\xff"), (b"serve-multiplexed-model-id", b"\xff")],
        [(b"x-session-id", b"\xff"), (b"x_session_id", b"\xff")],
    ],
)
async def test_a_client_sets_nothing_of_serves(sent: list[tuple[bytes, bytes]]) -> None:
    seen: list[dict[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(dict(scope["headers"]))

    for middleware in reversed(middlewares()):
        app = middleware.cls(app, *middleware.args, **middleware.kwargs)
    await app({"type": "http", "headers": sent}, None, None)  # type: ignore[arg-type]
    assert len(seen) == 1
    assert parse_disconnect_disabled_header(seen[0])
    assert parse_request_timeout_header(seen[0], None) is None
    assert parse_session_id_header(seen[0]) == ""
    assert not [name for name in seen[0] if name.decode().replace("-", "_") == SERVE_MULTIPLEXED_MODEL_ID]
    assert len(seen[0][b"x-request-id"]) == 32
    assert (b"accept" in seen[0]) == ((b"accept", b"*/*") in sent)
