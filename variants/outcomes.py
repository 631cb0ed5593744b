"""Outcomes: what one artifact answered to each example of a task, kept so that a variant that is evaluated later is
compared with its parent example by example.

One file an artifact and task, `outcomes/<digest>/<task>.json` below the home. An answer stands for another time only on
the machine and with the versions that gave it: whoever asks for outcomes says both, and gets nothing that is of others.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

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
    """The outcomes of one artifact on one task, by one machine and one set of versions."""

    schema_: Literal[1] = Field(1, alias="schema")
    digest: Sha256
    task: str
    hardware: Machine
    versions: dict[str, str]
    created: AwareDatetime
    outcomes: tuple[Outcome, ...]


class Outcomes:
    """The outcomes below `home`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "outcomes"

    def keep(
        self, digest: str, task: str, hardware: Machine, versions: dict[str, str], outcomes: Sequence[Outcome]
    ) -> None:
        """File outcomes. Those of other examples stay where machine and versions are the same; all go otherwise."""
        path = self._path(digest, task)
        with locked(self.root / ".lock"):
            found = self._read(path, hardware, versions)
            merged = {each.example_id: each for each in (*found, *outcomes)}
            kept = Kept(
                digest=digest,
                task=task,
                hardware=hardware,
                versions=versions,
                created=datetime.now(UTC),
                outcomes=tuple(merged.values()),
            )
            write_atomic(path, kept.model_dump_json(by_alias=True).encode() + b"\n")

    def find(
        self, digest: str, task: str, hardware: Machine, versions: dict[str, str], ids: Sequence[str]
    ) -> list[Outcome] | None:
        """The outcomes of the examples `ids`, in that order; None where one is missing, or was got elsewhere."""
        found = {each.example_id: each for each in self._read(self._path(digest, task), hardware, versions)}
        return [found[each] for each in ids] if all(each in found for each in ids) else None

    def forget_all_but(self, digests: Iterable[str]) -> None:
        """Remove the outcomes of all other artifacts."""
        kept = set(digests)
        for folder in self.root.glob("[0-9a-f]*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    def _read(self, path: Path, hardware: Machine, versions: dict[str, str]) -> tuple[Outcome, ...]:
        if not path.is_file():
            return ()
        kept = Kept.from_json(path.read_bytes(), str(path))
        return kept.outcomes if (kept.hardware, kept.versions) == (hardware, versions) else ()

    def _path(self, digest: str, task: str) -> Path:
        return self.root / digest / f"{task}.json"
