"""What is required of variants on real data beside the project, and what was found: the limits of a study.

Such data may not be copied into the project, so nobody's `make study` has cards of it. `make test-zoo` and
`make zoo-speed` leave a file for each requirement in the study's folder, and the next study shows them, met or not.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from variants.files import write_atomic
from variants.machine import Machine, describe, versions
from variants.typed import Document, Name

FOLDER = "required"


class Requirement(Document):
    """`value` is to be at least or at most `limit`, both in `unit`. `sample` says of how much it is, `why` what is to
    blame where it is not met."""

    schema_: Literal[1] = Field(1, alias="schema")
    name: Name
    what: str
    sense: Literal["at least", "at most"]
    limit: float
    unit: Annotated[str, Field(max_length=12)] = ""
    value: Annotated[float, Field(allow_inf_nan=False)]
    sample: str
    why: str = ""
    command: str
    machine: Machine
    versions: dict[str, str]
    measured: AwareDatetime

    @property
    def met(self) -> bool:
        return self.value >= self.limit if self.sense == "at least" else self.value <= self.limit

    @property
    def misses_by(self) -> float:
        """How far it is from the limit; 0 where it is met."""
        return 0.0 if self.met else abs(self.value - self.limit)


def found_here(name: str, what: str, **given: Any) -> Requirement:
    """One that was measured on this machine, now."""
    return Requirement(
        name=name, what=what, machine=describe(), versions=versions(), measured=datetime.now(UTC), **given
    )


def keep(requirement: Requirement, out: Path) -> None:
    """In a study's folder, in place of an earlier one of that name."""
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / f"{requirement.name}.json", requirement.to_json())


def kept(out: Path) -> tuple[Requirement, ...]:
    """Those in a study's folder, by name. InputError where one is not valid."""
    files = sorted((out / FOLDER).glob("*.json"))
    return tuple(Requirement.from_json(file.read_bytes(), str(file)) for file in files)
