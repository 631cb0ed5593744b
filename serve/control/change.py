"""Changes of the served stack, as the admin API reports them: the open change and those before it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

REMEMBERED = 10
"""So many ended changes are kept besides the latest one."""

State = Literal["checking", "starting", "undoing", "switching", "draining", "done", "failed", "cancelled"]


@dataclass
class Change:
    """One change. Until its state is `switching`, the previous snapshot is served."""

    number: int
    began: str
    differences: list[dict[str, Any]] = field(default_factory=list)
    state: State = "checking"
    doing: str = "checking the proposal"
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state not in ("done", "failed", "cancelled")

    def end(self, state: Literal["done", "failed", "cancelled"], error: str | None = None) -> None:
        self.state, self.doing, self.error = state, "", error


class Changes:
    """The latest changes, oldest first. At most one is open."""

    def __init__(self) -> None:
        self.count = 0
        self.changes: list[Change] = []

    @property
    def open(self) -> Change | None:
        return self.changes[-1] if self.changes and self.changes[-1].open else None

    def begin(self) -> Change:
        self.count += 1
        change = Change(self.count, datetime.now(UTC).isoformat(timespec="seconds"))
        self.changes = [*self.changes[-REMEMBERED:], change]
        return change

    def drop(self, change: Change) -> None:
        """Forget a change that was refused."""
        self.changes.remove(change)

    def to_json(self) -> list[dict[str, Any]]:
        return [vars(change) for change in self.changes]
