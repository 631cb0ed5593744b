"""Where an engine answers, as its deployment describes it."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from serve.engines.http.secret import HEADER


class Endpoint(NamedTuple):
    """Where an engine answers, what it holds in memory (PSS of its process tree, bytes), its first process, and the
    secret that it wants of every request."""

    url: str
    memory_bytes: int
    peak_memory_bytes: int
    pid: int
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        """What every request to the engine carries."""
        return {HEADER: self.secret}


Describe = Callable[[], Awaitable[Endpoint]]
"""Asks a variant's deployment; raises while there is none to ask."""
