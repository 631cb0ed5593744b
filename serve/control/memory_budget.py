"""The memory that new engines need, known before they start: from their cards, or else estimated by engine kind.

The estimates are measurements of `docs/performance.md`, rounded up.
"""

from dataclasses import dataclass
from typing import Any, Literal

import psutil

from serve.config.artifacts import cards_of
from serve.config.engine_plugin import PluginEngine
from serve.config.snapshot import EngineSpec
from serve.config.stack import VllmEngine

MIB = 2**20
ESTIMATES_MIB: dict[str, tuple[int, float]] = {
    "vllm": (2300, 1.2),
    "torch": (600, 1.5),
    "openvino": (90, 3.0),
    "scripted": (60, 1.0),
}
"""By engine kind: MiB of the engine itself, and bytes for each byte of the artifact."""
ADAPTERS_MIB = 200
"""What vLLM adds for its adapter slots."""


@dataclass(frozen=True)
class Need:
    """The memory of one engine, in bytes of PSS, and how it is known."""

    engine: str
    bytes: int
    known: Literal["measured", "estimated"]


@dataclass(frozen=True)
class Budget:
    """The memory arithmetic of a change, in bytes: new engines run beside the old ones before these stop."""

    needs: tuple[Need, ...]
    freed_bytes: int
    available_bytes: int
    available_is: str

    @property
    def needed_bytes(self) -> int:
        return sum(need.bytes for need in self.needs)

    @property
    def fits(self) -> bool:
        return self.needed_bytes <= self.available_bytes

    def says(self) -> str:
        parts = " + ".join(f"{need.engine} {mib(need.bytes)} ({need.known})" for need in self.needs)
        total = f" = {mib(self.needed_bytes)}" if len(self.needs) > 1 else ""
        return (
            f"needs {parts or '0 MiB'}{total} while old and new run side by side, {mib(self.available_bytes)} "
            f"{self.available_is}; {mib(self.freed_bytes)} are freed afterwards"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "needs": [vars(need) for need in self.needs],
            "needed_bytes": self.needed_bytes,
            "freed_bytes": self.freed_bytes,
            "available_bytes": self.available_bytes,
            "fits": self.fits,
            "says": self.says(),
        }


def mib(size: int) -> str:
    return f"{size / MIB:,.0f} MiB"


def need_of(engine: EngineSpec) -> Need:
    """From the newest card with a peak for this artifact and these settings, or else estimated by engine kind."""
    manifest = engine.artifact.manifest
    adapters = getattr(engine.settings, "adapters", None)
    cards = cards_of(manifest.model).get(manifest.digest, ())
    settings = engine.settings.model_dump(mode="json")
    peaks = [card.peak_memory_bytes for card in cards if card.engine == settings and card.peak_memory_bytes]
    if peaks and not adapters:
        return Need(engine.name, peaks[-1], "measured")
    if isinstance(engine.settings, PluginEngine):
        own, a_byte = engine.settings.definition.memory_mib, 1.0
    else:
        own, a_byte = ESTIMATES_MIB[engine.settings.kind]
    size = own * MIB + round(a_byte * manifest.bytes)
    if isinstance(engine.settings, VllmEngine):
        size += (engine.settings.kv_cache_mib + (ADAPTERS_MIB if adapters else 0)) * MIB
    return Need(engine.name, size, "estimated")


def budget(needs: tuple[Need, ...], held: dict[str, int], ending: set[str], limit_mib: int | None) -> Budget:
    """`held` is the memory of each running engine by application; `ending` are the applications that will stop."""
    freed = sum(size for application, size in held.items() if application in ending)
    if limit_mib is not None:
        left = limit_mib * MIB - sum(held.values())
        return Budget(needs, freed, max(0, left), f"are left of server.memory_mib {limit_mib:,}")
    return Budget(needs, freed, psutil.virtual_memory().available, "are free on this machine")
