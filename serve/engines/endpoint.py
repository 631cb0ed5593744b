"""Where an engine answers, as its deployment describes it."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple


class Endpoint(NamedTuple):
    """Where an engine answers, what it holds in memory (PSS of its process tree, bytes), and its first process."""

    url: str
    memory_bytes: int
    peak_memory_bytes: int
    pid: int


Describe = Callable[[], Awaitable[Endpoint]]
"""Asks a variant's deployment; raises while there is none to ask."""
