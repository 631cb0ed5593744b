"""API keys: which there are, and whose a given one is.

The stack file names each by its SHA-256 (`server.keys`), so that no file, log or journal holds one. Where it names
none, everyone may ask everything.
"""

import hashlib
import hmac
from collections.abc import Mapping

from serve.errors import Unauthorized
from variants.document import Document, Sha256


class Key(Document):
    """By the SHA-256 of the key in hex. `shadow: off` keeps its requests from being compared; `admin` opens
    `/admin`."""

    sha256: Sha256
    shadow: bool = True
    admin: bool = False


def name_of(authorization: str | None, keys: Mapping[str, Key]) -> str:
    """Whose key it is; takes as long whichever it is, or none. Raises Unauthorized."""
    scheme, _, key = (authorization or "").partition(" ")
    given = hashlib.sha256(key.strip().encode("latin-1")).hexdigest()
    found = [name for name, each in keys.items() if hmac.compare_digest(each.sha256, given)]
    if scheme.lower() != "bearer" or not key.strip() or not found:
        said = "the API key is not known" if authorization else "no API key is given"
        raise Unauthorized(said, field="Authorization", mend="send Authorization: Bearer KEY")
    return found[0]
