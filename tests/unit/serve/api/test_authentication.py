"""API keys: which paths a key opens, and which headers the application gets."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from serve.api.authentication import CheckKey
from serve.config.api_keys import Key
from serve.errors import openai_body


def key(secret: str, **rights: bool) -> Key:
    return Key(sha256=hashlib.sha256(secret.encode()).hexdigest(), **rights)


KEYS = {"client": key("c"), "private": key("p", shadow=False), "operator": key("o", admin=True)}
INFER, ADMIN = "/v1/completions", "/admin/v1/stack"


class Guarded:
    """The middleware in front of an application that records its requests."""

    def __init__(self, keys: Mapping[str, Key] = KEYS) -> None:
        self.headers: list[tuple[bytes, bytes]] | None = None
        self.app = CheckKey(self.application, lambda: keys, lambda path: openai_body)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = scope["headers"]

    async def ask(self, path: str, secret: str | None = None, **headers: str) -> int:
        """The status of a refusal; 200 where the application got the request."""
        sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        if secret is not None:
            sent.append((b"authorization", f"Bearer {secret}".encode()))
        messages: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            messages.append(message)

        self.headers = None
        await self.app({"type": "http", "path": path, "headers": sent}, receive, send)
        assert (self.headers is None) == bool(messages), "a request is either refused or passed on"
        return int(messages[0]["status"]) if messages else 200


@pytest.mark.parametrize(
    ("path", "secret", "status"),
    [
        (INFER, None, 401),
        (INFER, "wrong", 401),
        (INFER, "c", 200),
        (INFER, "o", 200),
        (ADMIN, None, 401),
        (ADMIN, "c", 403),
        (ADMIN, "p", 403),
        (ADMIN, "o", 200),
        ("/admin", "c", 403),
        ("/metrics", None, 200),
        ("/v2/health/live", None, 200),
        ("/v2/models/digits", None, 401),
        ("/v2/models/digits/infer", "c", 200),
    ],
)
async def test_which_key_opens_which_path(path: str, secret: str | None, status: int) -> None:
    assert await Guarded().ask(path, secret) == status


async def test_without_keys_every_request_passes_unchanged() -> None:
    guarded = Guarded({})
    assert await guarded.ask(ADMIN, x_understudy_who="me") == 200
    assert guarded.headers == [(b"x-understudy-who", b"me")]


async def test_the_application_gets_the_name_and_no_key() -> None:
    guarded = Guarded()
    assert await guarded.ask(INFER, "c", x_understudy_who="operator", x_understudy_shadow="on", accept="*/*") == 200
    assert guarded.headers is not None
    assert dict(guarded.headers) == {
        b"x-understudy-who": b"client", b"x-understudy-shadow": b"on", b"accept": b"*/*"
    }  # fmt: skip
    assert len(guarded.headers) == 3


async def test_a_key_without_shadows_overrides_the_client() -> None:
    guarded = Guarded()
    assert await guarded.ask(INFER, "p", x_understudy_shadow="on") == 200
    assert guarded.headers is not None
    assert [value for name, value in guarded.headers if name == b"x-understudy-shadow"] == [b"off"]
