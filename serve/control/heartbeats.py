"""What the ingresses have last said of themselves: which version each has, what its requests still hold, and what
clients named.

An ingress that has not been heard of for a while is not waited for: it has ended, or serves nobody.
"""

import time
from collections.abc import Iterator

from serve.control.contract import Heartbeat

GONE_S = 5.0


class Heartbeats:
    """The latest report of every ingress."""

    def __init__(self) -> None:
        self.heartbeats: dict[str, tuple[float, Heartbeat]] = {}

    def note(self, heartbeat: Heartbeat) -> None:
        self.heartbeats[heartbeat.ingress] = (time.monotonic(), heartbeat)

    def heard(self) -> list[Heartbeat]:
        """Of every ingress that lives."""
        now = time.monotonic()
        return [heartbeat for at, heartbeat in self.heartbeats.values() if now - at < GONE_S]

    def all_have(self, version: int) -> bool:
        """Whether every ingress has at least that version; not where none is heard of."""
        found = self.heard()
        return bool(found) and all(heartbeat.version >= version for heartbeat in found)

    def busy(self) -> set[str]:
        """The places that requests of an earlier version still hold."""
        return {place for heartbeat in self.heard() for place in heartbeat.busy}

    def all_left(self, places: set[str]) -> bool:
        """Whether no request of an earlier version holds any of these; not where no ingress is heard of, for it may
        be too busy to say that it is."""
        return bool(self.heard()) and not self.busy() & places

    def named(self) -> Iterator[tuple[str, float]]:
        """What clients named, and when, in seconds of the epoch; of ingresses that are gone, too."""
        return (each for _, heartbeat in self.heartbeats.values() for each in heartbeat.named_at.items())
