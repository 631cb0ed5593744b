"""The messages and calls between an ingress and the control plane."""

from dataclasses import dataclass
from typing import Any, Protocol

from serve.config.snapshot import Snapshot
from serve.control.rollout import RolloutPlan, Search, Status
from variants.evidence.gate import Decision, Finding

__all__ = [
    "RULES",
    "ControllerClient",
    "ControllerFigures",
    "Decision",
    "Heartbeat",
    "ObservationBatch",
    "RolloutFigures",
    "RolloutPlan",
    "Search",
    "Status",
]
ObservationBatch = dict[str, Any]
RULES = 3
"""Version of the counting rules. Every batch names the version that made it."""


@dataclass(frozen=True)
class Heartbeat:
    """The status of one ingress. `busy` names places that requests of an earlier snapshot still use. `named_at` is when
    a client last named a model or a `model@variant`, in seconds since the epoch."""

    ingress: str
    version: int
    busy: frozenset[str]
    named_at: dict[str, float]
    observations: ObservationBatch | None = None


@dataclass(frozen=True)
class RolloutFigures:
    """The latest rollout of a model. `decision` is empty and `findings` too where no evidence counts any more.
    `compared` counts pairs. `ratio_broken`: assignments do not follow the weights."""

    model: str
    variant: str
    status: Status
    decision: str
    compared: int
    ratio_broken: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ControllerFigures:
    """Figures of the controller for `/metrics`. `version` is its snapshot's. `behind` counts those of the `ingresses`
    that have an older one. `free_bytes` is free space on the disk of its journal."""

    version: int
    ingresses: int
    behind: int
    journal_bytes: int
    free_bytes: int
    rollouts: tuple[RolloutFigures, ...] = ()


class ControllerClient(Protocol):
    """The calls of an ingress to the controller. Methods that change traffic return when every ingress has the change,
    or after ten seconds."""

    async def heartbeat(self, heartbeat: Heartbeat) -> Snapshot | None:
        """Give the current snapshot, or None if the heartbeat names its version."""

    async def figures(self) -> ControllerFigures:
        """The controller's figures for `/metrics`."""

    async def propose(self, document: dict[str, Any]) -> dict[str, Any]:
        """Propose another stack; see `serve.control.controller`."""

    async def state(self) -> dict[str, Any]:
        """The served stack and the state of the latest changes."""

    async def cancel(self, number: int | None = None) -> dict[str, Any]:
        """Cancel the open change before it takes effect; with `number`, only that one. Raises Conflict."""

    async def traffic(self, model: str) -> dict[str, Any]:
        """The traffic of a model and its version. Raises UnknownName."""

    async def set_traffic(
        self, model: str, document: dict[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        """Replace the traffic of a model if its version is `version`; None means any. Raises Stale, InputError."""

    async def rollout(self, model: str) -> dict[str, Any]:
        """The latest rollout of a model, with its current verdict. Raises UnknownName."""

    async def rollouts(self, model: str) -> dict[str, Any]:
        """Every rollout of a model, the latest first. Raises UnknownName."""

    async def rollout_document(self, model: str, name: str) -> dict[str, Any]:
        """The rollout with that id as a document. Raises UnknownName."""

    async def begin_rollout(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Begin a rollout by a `RolloutPlan` or a `Search`. Raises NotReady if a variant does not answer."""

    async def steer_rollout(self, model: str, action: str, who: str, why: str = "") -> dict[str, Any]:
        """Pause, resume or abort the rollout of a model. Raises Conflict, InputError."""

    async def add_feedback(self, document: dict[str, Any], owner: str | None, client: str | None) -> dict[str, Any]:
        """Count a score for the answer with that id. `owner` is the name of the sender's API key, `client` its own
        name. Raises InputError."""

    async def why_not_counted(self, key: str, pair: str) -> str | None:
        """Why an opinion on a pair of the evidence `key` would not count; None where it would."""

    async def journal(self, last: int) -> list[dict[str, Any]]:
        """The last entries of the journal, oldest first."""
