"""One request on its way to an engine, and what comes back."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from serve.dataplane.router import Assignment, Target
from serve.dataplane.upstream import Upstream
from serve.errors import NotReady
from variants.errors import EngineError


class Reply(NamedTuple):
    """An engine's whole answer, and where its JSON ends if tensors follow."""

    body: bytes
    header_length: str | None


class ReplayFailed(EngineError):
    """An engine did not answer what no client waits for. `refused`: it found the request wrong."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class UpstreamGone(NotReady):
    """A variant's engine has gone while the request waited for its turn: nothing was asked."""


class Answer(Protocol):
    """What a protocol makes of an engine's answer while it passes."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """The engine has begun to answer, with these headers."""

    def chunk(self, data: bytes, now: float) -> bytes:
        """See one chunk of the body, at `now` seconds of the monotonic clock; what is returned is sent."""

    def end(self) -> bytes:
        """The body is complete; what is returned is sent after it."""


@dataclass
class Call:
    """One request on its way: what to ask of whom, and what came of it.

    `ask` gives the path and the body for the engine of a upstream; `arrived` is in seconds of the monotonic clock;
    `offering`: a piece of the answer is on offer that the client has not taken yet.
    """

    target: Target
    client: str | None
    ask: Callable[[Upstream], tuple[str, bytes]]
    headers: dict[str, str]
    streamed: bool
    request_id: str
    arrived: float = field(default_factory=time.perf_counter)
    upstream: Upstream | None = None
    assignment: Assignment | None = None
    status: int = 0
    started: bool = False
    offering: bool = False
