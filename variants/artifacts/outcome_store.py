"""Outcomes: what one artifact answered to each example of a task, kept so that a variant that is evaluated later is
compared with its parent example by example.

One file an artifact and task, `outcomes/<digest>/<task>.json` below the home. An answer stands for another time only
under the conditions that gave it: whoever asks for outcomes says which, and gets nothing that is of others.
"""

import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import AwareDatetime, Field

from variants.document import Document, Sha256
from variants.files import locked, write_atomic
from variants.machine import Machine, describe, versions
from variants.metrics.outcome import Outcome


@dataclass(frozen=True)
class Conditions:
    """What an answer holds for: the machine, what was installed, the settings of the engine that gave it, and the test
    split that the examples are of (`Task.test_sha256`)."""

    hardware: Machine
    versions: dict[str, str]
    engine: dict[str, Any]
    test_sha256: str

    @classmethod
    def here(cls, engine: dict[str, Any], test_sha256: str) -> Self:
        """Those of this machine now, in such an engine, on such data."""
        return cls(describe(), versions(), engine, test_sha256)


class OutcomeFile(Document):
    """The outcomes of one artifact on one task, all got under the same conditions."""

    schema_: Literal[1] = Field(1, alias="schema")
    digest: Sha256
    task: str
    hardware: Machine
    versions: dict[str, str]
    engine: dict[str, Any] | None = None
    test_sha256: Sha256 | None = None
    created: AwareDatetime
    outcomes: tuple[Outcome, ...]


class OutcomeStore:
    """The outcomes below `home`."""

    def __init__(self, home: Path) -> None:
        self.root = home / "outcomes"

    def keep(self, digest: str, task: str, conditions: Conditions, outcomes: Sequence[Outcome]) -> None:
        """File outcomes. Those of other examples stay where the conditions are the same; all go otherwise."""
        path = self._path(digest, task)
        with locked(self.root / ".lock"):
            earlier = self._read(path, conditions)
            merged = {each.example_id: each for each in (*earlier, *outcomes)}
            kept = OutcomeFile(
                digest=digest,
                task=task,
                **vars(conditions),
                created=datetime.now(UTC),
                outcomes=tuple(merged.values()),
            )
            write_atomic(path, kept.model_dump_json(by_alias=True).encode() + b"\n")

    def find(self, digest: str, task: str, conditions: Conditions, ids: Sequence[str]) -> list[Outcome] | None:
        """The outcomes of the examples `ids`, in that order; None where one is missing, or was got elsewhere."""
        outcomes = {each.example_id: each for each in self._read(self._path(digest, task), conditions)}
        return [outcomes[each] for each in ids] if all(each in outcomes for each in ids) else None

    def forget_all_but(self, digests: Iterable[str]) -> None:
        """Remove the outcomes of all other artifacts."""
        kept = set(digests)
        for folder in self.root.glob("[0-9a-f]*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    def _read(self, path: Path, conditions: Conditions) -> tuple[Outcome, ...]:
        if not path.is_file():
            return ()
        kept = OutcomeFile.from_json(path.read_bytes(), str(path))
        given = {name: getattr(kept, name) for name in vars(conditions)}
        return kept.outcomes if given == vars(conditions) else ()

    def _path(self, digest: str, task: str) -> Path:
        return self.root / digest / f"{task}.json"
