"""Changes of what is live, as they are told to whoever asks: the one that is on its way, and those before it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

REMEMBERED = 10
"""Changes that have ended are told of for so many more."""

State = Literal["checking", "starting", "undoing", "switching", "draining", "done", "failed", "cancelled"]


@dataclass
class Change:
    """One change: until it is `switching`, what was live is."""

    number: int
    began: str
    differences: list[dict[str, Any]] = field(default_factory=list)
    state: State = "checking"
    doing: str = "checking what is proposed"
    error: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        return self.state not in ("done", "failed", "cancelled")

    def end(self, state: Literal["done", "failed", "cancelled"], error: str | None = None) -> None:
        self.state, self.doing, self.error = state, "", error


class Changes:
    """The latest ones, oldest first; at most one is open."""

    def __init__(self) -> None:
        self.count = 0
        self.found: list[Change] = []

    @property
    def latest(self) -> Change | None:
        return self.found[-1] if self.found else None

    @property
    def open(self) -> Change | None:
        """The one that is on its way."""
        return self.latest if self.latest is not None and self.latest.open else None

    def begin(self) -> Change:
        self.count += 1
        change = Change(self.count, datetime.now(UTC).isoformat(timespec="seconds"))
        self.found = [*self.found[-REMEMBERED:], change]
        return change

    def drop(self, change: Change) -> None:
        """One that was refused, and so never was."""
        self.found.remove(change)

    def to_json(self) -> list[dict[str, Any]]:
        return [vars(change) for change in self.found]
