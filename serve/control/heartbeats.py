"""The latest heartbeat of every ingress: its snapshot version, the places its requests use, and the names clients sent.

An ingress without a heartbeat for `GONE_S` counts as gone, and nothing waits for it.
"""

import time
from collections.abc import Iterator

from serve.control.contract import Heartbeat

GONE_S = 5.0


class Heartbeats:
    def __init__(self) -> None:
        self.heartbeats: dict[str, tuple[float, Heartbeat]] = {}

    def note(self, heartbeat: Heartbeat) -> None:
        self.heartbeats[heartbeat.ingress] = (time.monotonic(), heartbeat)

    def heard(self) -> list[Heartbeat]:
        """The heartbeats of ingresses that are not gone."""
        now = time.monotonic()
        return [heartbeat for at, heartbeat in self.heartbeats.values() if now - at < GONE_S]

    def all_have(self, version: int) -> bool:
        """Whether every ingress has at least that version. False if there is no ingress."""
        heard = self.heard()
        return bool(heard) and all(heartbeat.version >= version for heartbeat in heard)

    def busy(self) -> set[str]:
        """The places that requests of an earlier snapshot still use."""
        return {place for heartbeat in self.heard() for place in heartbeat.busy}

    def all_left(self, places: set[str]) -> bool:
        """Whether no request of an earlier snapshot uses any of these places. False if there is no ingress: a busy one
        may be late with its heartbeat."""
        return bool(self.heard()) and not self.busy() & places

    def named(self) -> Iterator[tuple[str, float]]:
        """Names that clients sent, each with seconds since the epoch. Includes ingresses that are gone."""
        return (each for _, heartbeat in self.heartbeats.values() for each in heartbeat.named_at.items())
