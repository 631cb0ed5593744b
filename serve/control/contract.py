"""All that an ingress and the control plane say to each other."""

from dataclasses import dataclass
from typing import Any, Protocol

from serve.config.snapshot import Snapshot

ObservationBatch = dict[str, Any]
RULES = 2
"""What is counted, and how; a batch says by which it was made."""


@dataclass(frozen=True)
class Heartbeat:
    """What one ingress says of itself. `busy` names places that an earlier version's requests still hold; `named_at`
    says when a client last named a model or a `model@variant`, in seconds of the epoch."""

    ingress: str
    version: int
    busy: frozenset[str]
    named_at: dict[str, float]
    observations: ObservationBatch | None = None


class ControllerClient(Protocol):
    """What an ingress asks of the controller, wherever that runs. Methods that change traffic return when every ingress
    has the change, or after ten seconds."""

    async def tell(self, report: Heartbeat) -> Snapshot | None:
        """The version that is live, None where the report names it."""

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Change what is live; see `serve.control.controller`."""

    async def state(self) -> dict[str, Any]:
        """What is live, and how the latest change is going."""

    async def cancel(self, number: int | None = None) -> dict[str, Any]:
        """Give up a change that has not taken effect yet, the one of that number where one is given."""

    async def traffic(self, model: str) -> dict[str, Any]:
        """The traffic of a model, and its version. Raises UnknownName."""

    async def set_traffic(
        self, model: str, document: dict[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        """Replace the traffic of a model that stands at `version`, or at any for None. Raises Stale, InputError."""

    async def rollout(self, model: str) -> dict[str, Any]:
        """The latest rollout of a model, with the verdict as of now. Raises UnknownName."""

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Begin one, of variants that answer."""

    async def steer_rollout(self, model: str, action: str, who: str) -> dict[str, Any]:
        """Pause, resume or abort the rollout of a model. Raises Conflict, InputError."""

    async def add_feedback(self, document: dict[str, Any]) -> dict[str, Any]:
        """Count a score for an answer, by the id that it carried. Raises InputError."""

    async def journal(self, last: int) -> list[dict[str, Any]]:
        """The last entries of the journal, the oldest first."""
