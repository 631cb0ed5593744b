"""Who is signed in: a signed cookie that names an API key, and the tokens of its forms. The server keeps nothing.

The cookie has the key's name and its hash. It ends after LIFETIME_S, with the key's `expires`, and as soon as the stack
file no longer has that hash. Without `server.keys`, it names no key and only ties the forms to the browser.
"""

import hashlib
import secrets
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple

from itsdangerous import BadSignature, Signer, URLSafeTimedSerializer
from starlette.types import Scope

from serve.config.server.api_keys import Key, name_of
from serve.config.server.settings import Server
from serve.errors import Forbidden, Unauthorized
from serve.protocols.hash_keys import hash_keys
from variants.home import home

LIFETIME_S = 12 * 3600
IN_SCOPE = "understudy.console.session"
"""The entry of an ASGI scope that holds the request's `Session`."""


class Session(NamedTuple):
    """`key` is the name of the API key, `sha256` its hash; both None without one. `nonce` ties forms to the cookie."""

    nonce: str
    key: str | None = None
    sha256: str | None = None
    token: str = ""


class Sessions:
    """Issues and reads sessions. `server` returns the current settings."""

    def __init__(self, server: Callable[[], Server]) -> None:
        self.server = server

    @property
    def cookie(self) -> str:
        """The cookie's name. Browsers send cookies to every port of a host, so it has the port."""
        return f"understudy-{self.server().port}"

    @cached_property
    def secret(self) -> bytes:
        return hash_keys(home()).session

    @cached_property
    def serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.secret, "session", signer_kwargs=HOW)

    def new(self, key: str | None = None, sha256: str | None = None) -> Session:
        return self.with_token(Session(secrets.token_urlsafe(16), key, sha256))

    def with_token(self, session: Session) -> Session:
        signature = Signer(self.secret, "form", **HOW).get_signature(session.nonce)
        return session._replace(token=signature.decode())

    def written(self, session: Session) -> str:
        """The cookie's value."""
        return str(self.serializer.dumps([session.nonce, session.key, session.sha256]))

    def read(self, value: str | None) -> Session | None:
        """The session of a cookie; None where it is forged, too old, or of a key that is no longer valid."""
        try:
            nonce, key, sha256 = self.serializer.loads(value or "", max_age=LIFETIME_S)
        except (BadSignature, ValueError, TypeError):
            return None
        keys = self.server().keys
        if not keys or key is None:
            return self.with_token(Session(nonce))
        return self.with_token(Session(nonce, key, sha256)) if is_current(keys.get(key), sha256) else None

    def has_signed_in(self, session: Session) -> bool:
        """Whether the pages may be shown: always on a server without keys."""
        return session.key is not None or not self.server().keys

    def sign_in(self, secret: str) -> Session:
        """A new session for an API key. Raises Unauthorized."""
        keys, given = self.server().keys or {}, secret.encode().decode("latin-1").strip()  # as a header has it
        name = name_of(f"Bearer {given}", keys)
        if keys[name].has_expired():
            raise Unauthorized(f"the key {name!r} expired after {keys[name].expires}")
        return self.new(name, hashlib.sha256(given.encode("latin-1")).hexdigest())


HOW: dict[str, Any] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}


def is_current(key: Key | None, sha256: str | None) -> bool:
    return key is not None and sha256 in key.sha256 and not key.has_expired()


def session_of(scope: Scope) -> Session:
    session = scope[IN_SCOPE]
    assert isinstance(session, Session)
    return session


def check_token(session: Session, token: str) -> None:
    """Raises Forbidden unless the form was made for this session."""
    if not secrets.compare_digest(session.token.encode(), token.encode()):
        raise Forbidden("this form is too old, or another page sent it", mend="open the page again and repeat")
