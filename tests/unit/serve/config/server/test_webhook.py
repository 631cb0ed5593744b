"""`server.webhook`: HTTP addresses only, and the secret never in the file."""

import base64

import pytest
from pydantic import ValidationError

from serve.config.server.webhook import Webhook, check_webhook, secret_of
from variants.errors import StackError


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "https://hooks.example/a?b=c", "http://[::1]:8/x"])
def test_http_addresses_are_taken(url: str) -> None:
    assert Webhook(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [
        "", "hooks.example", "ftp://a", "file:///etc/passwd", "http://", "http:///x", "http://a:0", "http://a:x",
        "http://a\r\nhost: b", "http://a b", "https://name:word@a", "http://" + 3000 * "a",
    ],
)  # fmt: skip
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(ValidationError, match="url"):
        Webhook(url=url)


@pytest.mark.parametrize("name", ["whsec_abc", "a secret", "", "1X"])
def test_the_secret_is_named_not_written(name: str) -> None:
    with pytest.raises(ValidationError, match="secret"):
        Webhook.model_validate({"url": "http://a", "secret": name})


def test_the_secret_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    webhook = Webhook.model_validate({"url": "http://a", "secret": "HOOK"})
    monkeypatch.setenv("HOOK", "plain text")
    assert secret_of(webhook) == b"plain text"
    monkeypatch.setenv("HOOK", "whsec_" + base64.b64encode(b"bytes").decode())
    assert secret_of(webhook) == b"bytes"
    assert secret_of(Webhook(url="http://a")) is None


@pytest.mark.parametrize("text", [None, "", "whsec_", "whsec_%%%"])
def test_a_variable_without_a_secret_is_refused(text: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOOK", raising=False)
    if text is not None:
        monkeypatch.setenv("HOOK", text)
    with pytest.raises(StackError, match=r"server\.webhook\.secret: the environment variable HOOK holds no secret"):
        check_webhook(Webhook.model_validate({"url": "http://a", "secret": "HOOK"}))
