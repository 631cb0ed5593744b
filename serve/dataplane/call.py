"""A request to an engine and the types of its answer."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from serve.config.capabilities import NOTHING, Needs
from serve.dataplane.router import Assignment, Target
from serve.dataplane.upstream import Upstream
from serve.errors import CLIENT_WENT_AWAY, NotReady
from variants.errors import EngineError


class Reply(NamedTuple):
    """An engine's complete answer, and the length of its JSON part if tensors follow."""

    body: bytes
    header_length: str | None


class ReplayFailed(EngineError):
    """An engine did not answer a replay. `refused`: it rejected the request (4xx)."""

    def __init__(self, message: str, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


class UpstreamGone(NotReady):
    """A variant's engine stopped while the request waited in the queue; nothing was sent to it."""


class Answer(Protocol):
    """A protocol's observer of an engine's answer while it is relayed."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """The answer has begun, with these headers."""

    def chunk(self, data: bytes, now: float) -> bytes:
        """Read one chunk of the body at `now`, in seconds of the monotonic clock. Returns the bytes to send."""

    async def end(self) -> bytes:
        """The body is complete. Returns the last bytes to send."""


@dataclass
class Call:
    """One request, its assignment and its result.

    `ask` returns the path and the body for an upstream's engine. `arrived` is in seconds of the monotonic clock. A
    variant without all of `needs` cannot answer. `shown_as` is the model's name in the answer, None for the engine's.
    `offering`: a piece of the answer is being sent, and the client has not read it yet. `key` is the name of the
    client's API key, `size` the bytes of the client's body. `scored_as` is the kind of the task whose label it carries.
    `version` is the version of the model's traffic by which it was assigned first.
    """

    target: Target
    client: str | None
    ask: Callable[[Upstream], tuple[str, bytes]]
    headers: dict[str, str]
    streamed: bool
    request_id: str
    arrived: float = field(default_factory=time.perf_counter)
    needs: Needs = NOTHING
    shown_as: str | None = None
    upstream: Upstream | None = None
    assignment: Assignment | None = None
    status: int = 0
    started: bool = False
    offering: bool = False
    key: str | None = None
    size: int = 0
    scored_as: str = "text"
    version: int = 0

    @property
    def was_refused(self) -> bool:
        """Whether an engine answered 4xx. The server's own refusals begin no answer."""
        return self.started and 400 <= self.status < 500 and self.status != CLIENT_WENT_AWAY
