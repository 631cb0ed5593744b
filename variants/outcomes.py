"""Outcomes: what one artifact answered to each example of a task, kept so that a variant that is evaluated later is
compared with its parent example by example.

One file an artifact and task, `outcomes/<digest>/<task>.json` below the home. An answer stands for another time only on
the machine, with the versions and in an engine with the settings that gave it: whoever asks for outcomes says all
three, and gets nothing that is of others.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import AwareDatetime, Field

from variants.files import locked, write_atomic
from variants.machine import Machine
from variants.typed import Document, Sha256


@dataclass(frozen=True)
class Outcome:
    """What was answered to one example, and whether it is right."""

    example_id: str
    label: str
    answer: str
    correct: bool


class Kept(Document):
    """The outcomes of one artifact on one task, by one machine, one set of versions and one engine's settings."""

    schema_: Literal[1] = Field(1, alias="schema")
    digest: Sha256
    task: str
    hardware: Machine
    versions: dict[str, str]
    engine: dict[str, Any] | None = None
    created: AwareDatetime
    outcomes: tuple[Outcome, ...]


class Outcomes:
    """The outcomes below `home`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "outcomes"

    def keep(
        self,
        digest: str,
        task: str,
        hardware: Machine,
        versions: dict[str, str],
        engine: dict[str, Any],
        outcomes: Sequence[Outcome],
    ) -> None:
        """File outcomes. Those of other examples stay where machine, versions and engine are the same; all go
        otherwise."""
        path = self._path(digest, task)
        with locked(self.root / ".lock"):
            found = self._read(path, hardware, versions, engine)
            merged = {each.example_id: each for each in (*found, *outcomes)}
            kept = Kept(
                digest=digest,
                task=task,
                hardware=hardware,
                versions=versions,
                engine=engine,
                created=datetime.now(UTC),
                outcomes=tuple(merged.values()),
            )
            write_atomic(path, kept.model_dump_json(by_alias=True).encode() + b"\n")

    def find(
        self,
        digest: str,
        task: str,
        hardware: Machine,
        versions: dict[str, str],
        engine: dict[str, Any],
        ids: Sequence[str],
    ) -> list[Outcome] | None:
        """The outcomes of the examples `ids`, in that order; None where one is missing, or was got elsewhere."""
        kept = self._read(self._path(digest, task), hardware, versions, engine)
        found = {each.example_id: each for each in kept}
        return [found[each] for each in ids] if all(each in found for each in ids) else None

    def forget_all_but(self, digests: Iterable[str]) -> None:
        """Remove the outcomes of all other artifacts."""
        kept = set(digests)
        for folder in self.root.glob("[0-9a-f]*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    def _read(
        self, path: Path, hardware: Machine, versions: dict[str, str], engine: dict[str, Any]
    ) -> tuple[Outcome, ...]:
        if not path.is_file():
            return ()
        kept = Kept.from_json(path.read_bytes(), str(path))
        alike = (kept.hardware, kept.versions, kept.engine) == (hardware, versions, engine)
        return kept.outcomes if alike else ()

    def _path(self, digest: str, task: str) -> Path:
        return self.root / digest / f"{task}.json"
