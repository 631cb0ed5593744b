"""Keys of the server's hashes of clients and requests, one for each purpose.

They are derived from the secret of the home (`serve.protocols.answer_id`). So nobody outside can choose a client name
that gets a certain variant, or a request that is sampled. Names cannot be found from hashes by trial. All servers of a
home share the keys, also after a restart.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

from serve.protocols.answer_id import key_of


@dataclass(frozen=True)
class HashKeys:
    """`assign` assigns clients to variants, `sample` samples requests, `client` and `request` hide names. `session`
    signs the console's cookies. An empty key is no key."""

    assign: bytes = b""
    sample: bytes = b""
    client: bytes = b""
    request: bytes = b""
    session: bytes = b""

    def client_of(self, owner: str | None, client: str | None) -> str | None:
        """A hash of a client, 16 hex digits: of the name of its API key and its own name. None where it has neither."""
        if owner is None and client is None:
            return None
        name = f"{owner or ''}\0{client or ''}".encode(errors="surrogatepass")
        return hashlib.blake2b(name, digest_size=8, key=self.client).hexdigest()

    def request_of(self, request_id: str) -> str:
        """A hash of a request's id, 16 hex digits."""
        return hashlib.blake2b(request_id.encode(), digest_size=8, key=self.request).hexdigest()


@cache
def hash_keys(folder: Path) -> HashKeys:
    """The keys of a home."""
    secret = key_of(folder)
    return HashKeys(*(hashlib.blake2b(key=secret, person=each.name.encode()).digest() for each in fields(HashKeys)))
