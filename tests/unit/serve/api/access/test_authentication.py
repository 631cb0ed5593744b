"""API keys: which paths a key opens, and which headers the application gets."""

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from serve.api.access.authentication import SIGNED_IN, CheckKey
from serve.config.server.api_keys import Key
from serve.errors import openai_body


def key(secret: str, **more: Any) -> Key:
    return Key.model_validate({"sha256": hashlib.sha256(secret.encode()).hexdigest(), **more})


TODAY = datetime.now(UTC).date()
KEYS = {
    "client": key("c"),
    "private": key("p", shadow=False),
    "operator": key("o", admin=True),
    "infer": key("i", rights=["infer"]),
    "label": key("l", rights=["label"]),
    "feedback": key("f", rights=["feedback"]),
    "admin": key("a", rights=["admin"]),
    "today": key("t", expires=TODAY.isoformat()),
    "yesterday": key("y", expires=TODAY - timedelta(days=1), rights=["infer", "label", "feedback", "admin"]),
}
INFER, FEEDBACK, ADMIN = "/v1/completions", "/v1/feedback", "/admin/v1/stack"


class Guarded:
    """The middleware in front of an application that records its requests."""

    def __init__(self, keys: Mapping[str, Key] = KEYS) -> None:
        self.messages: list[Any] = []
        self.headers: list[tuple[bytes, bytes]] | None = None
        self.app = CheckKey(self.application, lambda: keys, lambda path: openai_body)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = scope["headers"]

    async def ask(
        self, path: str, secret: str | None = None, method: str = "POST", signed_in: str | None = None, **headers: str
    ) -> int:
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
        scope = {"type": "http", "path": path, "method": method, "headers": sent, SIGNED_IN: signed_in}
        await self.app(scope, receive, send)
        self.messages = messages
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
        (FEEDBACK, "c", 200),
        (INFER, "i", 200),
        (FEEDBACK, "i", 403),
        (ADMIN, "i", 403),
        (INFER, "f", 403),
        (FEEDBACK, "f", 200),
        (INFER, "a", 403),
        (FEEDBACK, "a", 403),
        (ADMIN, "a", 200),
        (INFER, "l", 403),
        (FEEDBACK, "l", 403),
        (INFER, "t", 200),
        (INFER, "y", 401),
        (ADMIN, "y", 401),
        (FEEDBACK, "y", 401),
    ],
)
async def test_which_key_opens_which_path(path: str, secret: str | None, status: int) -> None:
    assert await Guarded().ask(path, secret) == status


@pytest.mark.parametrize(
    ("path", "name", "status"),
    [(ADMIN, "admin", 200), (ADMIN, "infer", 403), (INFER, "infer", 200), (ADMIN, "yesterday", 401), (ADMIN, "x", 401)],
)
async def test_who_signed_in_has_the_rights_of_the_key(path: str, name: str, status: int) -> None:
    guarded = Guarded()
    assert await guarded.ask(path, signed_in=name, x_understudy_who="somebody else") == status
    if guarded.headers is not None:
        assert dict(guarded.headers)[b"x-understudy-who"] == name.encode()


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


async def test_every_key_may_read_what_is_served_and_an_expired_one_may_not() -> None:
    for secret in "cpoilfat":
        assert await Guarded().ask("/v1/models", secret, method="GET") == 200
    assert await Guarded().ask("/v1/models", "y", method="GET") == 401


@pytest.mark.parametrize(("secret", "status"), [("c", 200), ("o", 200), ("i", 403)])
async def test_a_label_needs_its_right(secret: str, status: int) -> None:
    for path in (INFER, "/v2/models/digits/infer"):
        assert await Guarded().ask(path, secret, x_understudy_label="7") == status


@pytest.mark.parametrize(
    ("path", "secret", "right"), [(INFER, "f", "infer"), (FEEDBACK, "i", "feedback"), (ADMIN, "c", "admin")]
)
async def test_a_refusal_names_the_right(path: str, secret: str, right: str) -> None:
    guarded = Guarded()
    assert await guarded.ask(path, secret) == 403
    error = json.loads(guarded.messages[1]["body"])["error"]
    assert repr(right) in error["message"]
    assert error["code"] == "forbidden"


async def test_an_expired_key_is_told_so() -> None:
    guarded = Guarded()
    assert await guarded.ask(INFER, "y") == 401
    assert (b"www-authenticate", b"Bearer") in guarded.messages[0]["headers"]
    assert f"expired after {TODAY - timedelta(days=1)}" in guarded.messages[1]["body"].decode()


async def test_a_key_that_reached_its_limit_waits_and_others_do_not() -> None:
    guarded = Guarded({"two": key("2", limits={"requests_per_minute": 2}, rights=["infer", "admin"]), "any": key("c")})
    assert [await guarded.ask(INFER, "2") for _ in range(3)] == [200, 200, 429]
    (retry_after,) = (value for name, value in guarded.messages[0]["headers"] if name == b"retry-after")
    assert 55 <= int(retry_after) <= 60
    assert "requests_per_minute" in guarded.messages[1]["body"].decode()
    assert await guarded.ask(INFER, "c") == 200
    assert await guarded.ask(ADMIN, "2") == 200
    assert await guarded.ask("/v1/models", "2", method="GET") == 200
    assert await guarded.ask("/admin/v1/stack", "c") == 403
    assert await guarded.ask(FEEDBACK, "2") == 403


async def test_requests_at_once_are_limited_and_end_with_the_request() -> None:
    guarded = Guarded({"one": key("1", limits={"concurrency": 1})})
    first, statuses = guarded.application, list[int]()

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await first(scope, receive, send)
        if not statuses:
            statuses.append(0)
            statuses.append(await guarded.ask(INFER, "1"))
            guarded.headers, guarded.messages = [], []
            raise ConnectionError("the client left")

    guarded.app.app = application
    with pytest.raises(ConnectionError):
        await guarded.ask(INFER, "1")
    assert statuses == [0, 429]
    assert await guarded.ask(INFER, "1") == 200
