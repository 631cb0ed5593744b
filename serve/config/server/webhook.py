"""`server.webhook` of the stack file: the address that is told about every verdict on a rollout."""

import base64
import os
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from variants.document import Document, absent
from variants.errors import StackError

ENVIRONMENT = r"^[A-Z_][A-Z0-9_]{0,127}$"
"""The name of an environment variable."""
URL = re.compile(r"https?://[!-~]{1,2000}")
STANDARD = "whsec_"
"""Secrets with this prefix are base64, as the Standard Webhooks specification has them."""


class Webhook(Document):
    """`secret` is the *name* of an environment variable of the server, so that no file holds the secret."""

    url: str
    secret: Annotated[str, Field(pattern=ENVIRONMENT)] | None = Field(
        default=None, exclude_if=absent, description="environment variable with the secret that signs messages"
    )

    @field_validator("url")
    @classmethod
    def check_url(cls, url: str) -> str:
        return check_http_url(url, "https://hooks.example/understudy", "secret")


def check_http_url(url: str, example: str, secret: str) -> str:
    """The address. Raises ValueError for one that is not of HTTP, or that has a name or password in it, which belong to
    the field `secret`."""
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and parts.port != 0
    except ValueError:
        named = False
    if not URL.fullmatch(url) or not named:
        raise ValueError(f"{url!r:.80} is not an HTTP address; write one like {example}")
    if parts.username or parts.password:
        raise ValueError(f"an address with a name or password would be in logs; use `{secret}` instead")
    return url


def secret_of(webhook: Webhook) -> bytes | None:
    """The secret, or None where messages are not signed. Raises StackError where the variable has none."""
    if webhook.secret is None:
        return None
    text = os.environ.get(webhook.secret, "")
    try:
        secret = base64.b64decode(text[len(STANDARD) :], validate=True) if text.startswith(STANDARD) else text.encode()
    except ValueError:
        secret = b""
    if not secret:
        raise StackError(
            f"the environment variable {webhook.secret} holds no secret",
            field="server.webhook.secret",
            mend="set it for the server: text, or whsec_ and base64",
        )
    return secret


def check_webhook(webhook: Webhook | None) -> None:
    """Raises StackError where messages could not be signed."""
    if webhook is not None:
        secret_of(webhook)
