"""Adapters that an engine has refused: each is tried again after a pause that doubles with every refusal.

Its variant is asked for every half a second, and an engine reads the adapter's files at each try."""

import time
from dataclasses import dataclass, field

from serve.engines.endpoint import EngineDown

PAUSE_S, LONGEST_S = 5.0, 300.0


@dataclass
class Refusal:
    """The latest refusal, their number, and when the adapter is tried again, in seconds of the monotonic clock."""

    message: str
    times: int
    again: float


@dataclass
class Refused:
    """By adapter name."""

    by_name: dict[str, Refusal] = field(default_factory=dict)

    def check(self, name: str) -> None:
        """Raises EngineDown, `refused`, during a pause."""
        refusal = self.by_name.get(name)
        if refusal is not None and time.monotonic() < refusal.again:
            raise EngineDown(refusal.message, why="refused")

    def note(self, name: str, error: Exception) -> EngineDown:
        """Note one more refusal. Gives the error for whoever asks for the adapter."""
        before = self.by_name.get(name)
        times = before.times + 1 if before else 1
        pause_s = min(PAUSE_S * 2.0 ** min(times - 1, 16), LONGEST_S)
        self.by_name[name] = Refusal(str(error), times, time.monotonic() + pause_s)
        return EngineDown(str(error), why="refused")

    def forget(self, name: str | None = None) -> None:
        """It is loaded; without a name: the engine has started anew."""
        if name is None:
            self.by_name.clear()
        else:
            self.by_name.pop(name, None)
