"""Whether a server is open: without API keys, so that every client that reaches it may do everything. Pure."""

from collections.abc import Collection

from serve.config.server.hosts import is_loopback
from variants.errors import StackError

FLAG = "--insecure-open"


def check_beyond_loopback(host: str, keys: Collection[str], insecure_open: bool) -> None:
    """Raises StackError for a server without keys that other machines can reach, unless `insecure_open`."""
    if not keys and not is_loopback(host) and not insecure_open:
        raise StackError(
            f"without keys, every client that reaches {host} may change this server",
            field="server.keys",
            mend=f"declare keys, listen on 127.0.0.1, or say {FLAG}",
        )


def check_removal(before: Collection[str], after: Collection[str], insecure_open: bool) -> None:
    """Raises StackError for a change that removes every key, unless `insecure_open`."""
    if before and not after and not insecure_open:
        raise StackError(
            "this removes every API key, so every client may change the server",
            field="server.keys",
            mend=f"leave `keys` out to keep the keys, or say {FLAG}",
        )
