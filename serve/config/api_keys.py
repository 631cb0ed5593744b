"""API keys, and who owns a given one.

The stack file has the SHA-256 of each key (`server.keys`), so that no file, log or journal holds a key. Without keys,
every client may use every endpoint.
"""

import hashlib
import hmac
from collections.abc import Mapping

from serve.errors import Unauthorized
from variants.document import Document, Sha256


class Key(Document):
    """One key, as its SHA-256 in hex. `shadow: off` excludes its requests from replays; `admin` allows `/admin`."""

    sha256: Sha256
    shadow: bool = True
    admin: bool = False


def name_of(authorization: str | None, keys: Mapping[str, Key]) -> str:
    """The name of the key's owner, in constant time for all keys. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    given = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
    names = [name for name, each in keys.items() if hmac.compare_digest(each.sha256, given)]
    if scheme.lower() != "bearer" or not key.strip() or not names:
        message = "the API key is unknown" if authorization else "the API key is missing"
        raise Unauthorized(message, field="Authorization", mend="send Authorization: Bearer KEY")
    return names[0]
