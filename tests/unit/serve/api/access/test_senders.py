"""Which requests are refused because a web page of another site may have caused them."""

from typing import Any

import pytest

from serve.api.access.senders import CheckSender
from serve.config.server.api_keys import Key
from serve.config.server.settings import Server
from serve.errors import openai_body

KEYS = {"ops": Key(sha256="0" * 64)}
ADMIN, INFER = "/admin/v1/stack", "/v1/completions"
OWN = "127.0.0.1:8000"


async def ask(server: Server, path: str, *headers: tuple[str, str], method: str = "GET") -> int:
    """The status of a refusal; 200 where the application got the request."""
    passed, messages = [], list[dict[str, Any]]()

    async def application(*_: Any) -> None:
        passed.append(True)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        messages.append(message)

    sent = [(name.encode(), value.encode()) for name, value in headers]
    app = CheckSender(application, lambda: server, lambda path: openai_body)
    await app({"type": "http", "path": path, "method": method, "headers": sent}, receive, send)
    assert bool(passed) != bool(messages), "a request is either refused or passed on"
    return int(messages[0]["status"]) if messages else 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("127.0.0.1", 200),
        ("127.8.9.10:1", 200),
        ("localhost:8000", 200),
        ("LocalHost.", 200),
        ("a.localhost", 200),
        ("[::1]:8000", 200),
        ("models.lan", 200),
        ("models.lan:8443", 200),
        ("10.0.0.7:8000", 200),
        ("evil.example", 403),
        ("evil.example:8000", 403),
        ("localhost.evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("models.lan.evil.example", 403),
        ("notlocalhost", 403),
        ("10.0.0.8", 403),
        ("0.0.0.0:8000", 403),
        ("[2001:db8::1]", 403),
        ("evil.example@127.0.0.1", 403),
        ("127.0.0.1/evil", 403),
        ("", 403),
    ],
)
async def test_only_hosts_of_this_server_are_accepted(host: str, status: int) -> None:
    server = Server(host="10.0.0.7", hosts=("models.lan",))
    assert await ask(server, ADMIN, ("host", host)) == status
    assert await ask(server, INFER, ("host", host), method="POST") == status
    for path in ("/v1/models", "/nowhere", "/v2", "/v1/feedback"):
        assert await ask(server, path, ("host", host)) == status
    assert await ask(server, "/metrics", ("host", host)) == 200
    assert await ask(server, "/v2/health/ready", ("host", host)) == 200


async def test_a_request_has_exactly_one_host() -> None:
    assert await ask(Server(), ADMIN) == 403
    assert await ask(Server(), ADMIN, ("host", OWN), ("host", "evil.example")) == 403


async def test_with_keys_the_host_counts_below_admin_only() -> None:
    server = Server(keys=KEYS)
    assert await ask(server, INFER, ("host", "evil.example"), method="POST") == 200
    assert await ask(server, ADMIN, ("host", "evil.example")) == 403


async def test_a_server_on_all_addresses_accepts_addresses_and_no_names() -> None:
    for listening in ("0.0.0.0", "::"):  # noqa: S104
        server = Server(host=listening)
        assert await ask(server, ADMIN, ("host", "192.168.1.20:8000")) == 200
        assert await ask(server, ADMIN, ("host", "[2001:db8::1]:8000")) == 200
        assert await ask(server, ADMIN, ("host", "evil.example")) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (f"http://{OWN}", 200),
        ("http://models.lan:9999", 200),
        ("https://models.lan", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:3000", 403),
        ("http://127.0.0.1", 403),
        ("http://127.0.0.1:8000.evil.example", 403),
        (f"http://{OWN}@evil.example", 403),
        ("null", 403),
        ("file://", 403),
        (f"ftp://{OWN}", 403),
        ("http://[", 403),
        ("", 403),
    ],
)
async def test_only_the_servers_own_pages_may_use_admin(origin: str, status: int) -> None:
    for server in (Server(hosts=("models.lan",)), Server(hosts=("models.lan",), keys=KEYS)):
        for method in ("GET", "POST", "DELETE"):
            assert await ask(server, ADMIN, ("host", OWN), ("origin", origin), method=method) == status
    assert await ask(Server(), INFER, ("host", OWN), ("origin", origin), method="POST") == 200


async def test_default_ports_may_be_left_out() -> None:
    assert await ask(Server(), ADMIN, ("host", "localhost"), ("origin", "http://localhost:80")) == 200
    assert await ask(Server(), ADMIN, ("host", "localhost:443"), ("origin", "https://localhost")) == 200
    assert await ask(Server(), ADMIN, ("host", "localhost:80"), ("origin", "https://localhost")) == 403


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_a_body_below_admin_is_json(method: str) -> None:
    for headers, status in (
        ({"content-type": "application/json", "content-length": "2"}, 200),
        ({"content-type": "Application/JSON; charset=utf-8", "content-length": "2"}, 200),
        ({"content-type": "text/plain", "content-length": "2"}, 415),
        ({"content-type": "text/plain;application/json", "content-length": "2"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x", "content-length": "2"}, 415),
        ({"content-type": "application/jsonp", "content-length": "2"}, 415),
        ({"content-type": "", "content-length": "2"}, 415),
        ({"content-length": "2"}, 415),
        ({"transfer-encoding": "chunked"}, 415),
        ({"content-length": "0"}, 200),
        ({}, 200),
    ):
        assert await ask(Server(), ADMIN, ("host", OWN), *headers.items(), method=method) == status, headers
    assert await ask(Server(), INFER, ("host", OWN), ("content-type", "text/plain"), method=method) == 200
