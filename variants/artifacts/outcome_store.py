"""Stores outcomes: the answers of one artifact to the examples of a task.

With them, a variant that is evaluated later is compared with its parent example by example. Each artifact and task has
one file, `outcomes/<digest>/<task>.json` below the home folder. Outcomes are reused only under the same conditions: the
caller names these, and gets no outcomes of other conditions.
"""

import hashlib
import re
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
    """The conditions of outcomes: the machine, the installed versions, the settings of the engine, and the test split
    of the examples (`Task.test_sha256`)."""

    hardware: Machine
    versions: dict[str, str]
    engine: dict[str, Any]
    test_sha256: str

    @classmethod
    def here(cls, engine: dict[str, Any], test_sha256: str) -> Self:
        """The current conditions of this machine, with the given engine settings and test split."""
        return cls(describe(), versions(), engine, test_sha256)


class OutcomeFile(Document):
    """The outcomes of one artifact on one task, all under the same conditions."""

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
        """Store outcomes. Those of other examples stay if their conditions are the same, and are removed otherwise."""
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
        """The outcomes of the examples `ids`, in that order. None where one is missing or has other conditions."""
        outcomes = {each.example_id: each for each in self._read(self._path(digest, task), conditions)}
        return [outcomes[each] for each in ids] if all(each in outcomes for each in ids) else None

    def forget_all_but(self, digests: Iterable[str]) -> None:
        """Remove the outcomes of all artifacts but those with these `digests`."""
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
        """The name of a task of lm-evaluation-harness may be a path; such a file is named by the name's hash."""
        plain = re.fullmatch(r"[\w.-]+", task, re.ASCII)
        name = task if plain else hashlib.sha256(task.encode()).hexdigest()
        return self.root / digest / f"{name}.json"
