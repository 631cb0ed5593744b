"""Where an engine answers, as its deployment describes it, or why it does not."""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from serve.engines.figures import Figures
from serve.engines.http.secret import HEADER
from variants.errors import EngineError

Why = Literal["starting", "ended", "hung", "wrong", "damaged", "failing", "unreachable", "refused"]
SAYS: dict[Why, str] = {
    "starting": "its engine is starting",
    "ended": "its engine ended",
    "hung": "its engine does not answer in time",
    "wrong": "its engine answers wrongly",
    "damaged": "its artifact is damaged",
    "failing": "its last requests failed",
    "unreachable": "its engine cannot be reached",
    "refused": "its engine refuses the adapter",
}
"""Why a variant is down, for clients and metrics: no logs, no paths."""


class EngineDown(EngineError):
    """An engine that cannot answer now. `why` is for clients and metrics, the message for operators."""

    def __init__(self, message: str, *, field: str | None = None, mend: str | None = None, why: Why = "ended") -> None:
        super().__init__(message, field=field, mend=mend)
        self.why = why

    @property
    def says(self) -> str:
        return SAYS[self.why]


class Endpoint(NamedTuple):
    """Where an engine answers. Its memory is the PSS of its process tree, in bytes; `pid` is its first process. It
    wants `secret` of every request, and was started again `restarts` times. `figures` are what it says of itself."""

    url: str
    memory_bytes: int
    peak_memory_bytes: int
    pid: int
    secret: str
    restarts: int = 0
    figures: Figures = Figures()

    @property
    def headers(self) -> dict[str, str]:
        """What every request to the engine carries."""
        return {HEADER: self.secret}


Describe = Callable[[bool], Awaitable[Endpoint]]
"""Asks a variant's deployment. With True, the deployment first sends its engine a small request.

Raises EngineDown for an engine that does not answer, and errors of Ray while there is no deployment to ask."""
