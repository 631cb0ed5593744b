"""The schema of `study.json`: one card for each variant. Every figure of the page is one of its fields.

The first fields of a card are the study's interface (`schema: 1`). The fields from `digest` on say where the card comes
from and what else was measured.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, model_validator

from variants.artifacts.build_cost import BuildCost
from variants.artifacts.card import Distance, Latency, Speedup
from variants.document import Document, Name, Sha256
from variants.machine import Machine
from variants.recipes.family import Kind

FILE = "study.json"


class Measure(Document):
    metric: str
    value: float
    low: float
    high: float
    n: int


class Between(Document):
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float


class Other(Document):
    """The same variant by another metric, or on another task."""

    task: str
    unit: Literal["share", ""]
    better: Literal["higher", "lower"]
    accuracy: Measure
    paired_difference: Between | None
    agreement: Between | None


class StudyCard(Document):
    """`paired_difference` is the variant's figure less that of `parent` on the same examples, None for a baseline.
    `artifact_bytes` are the artifact's own, `served_bytes` those an engine loads: an adapter's and its base's.
    Latency is of one request at a time. `cost_cpu_s` is the engine's CPU-seconds for 1,000 requests at saturation.
    `effort` is the cost of building the variant, without its parents. `limit` is the most examples of a task that it
    was to be asked."""

    family: str
    model: Name
    variant: Name
    kind: Kind
    structured: bool | None
    precision: str
    artifact_bytes: int
    accuracy: Measure
    paired_difference: Between | None
    latency_s: Latency
    throughput_per_s: float
    peak_memory_bytes: int
    digest: Sha256
    parent: Name | None
    parent_digest: Sha256 | None
    task: str
    unit: Literal["share", ""]
    better: Literal["higher", "lower"]
    agreement: Between | None
    served_bytes: int
    resident_bytes: int
    saturated_latency_s: Latency
    speedup: Speedup | None
    inference_per_s: float | None
    cost_cpu_s: float
    load_s: float
    engine: str
    method: str
    recipe: dict[str, Any]
    licences: tuple[str, ...]
    sources: tuple[str, ...]
    note: str
    versions: dict[str, str]
    measured: AwareDatetime
    executes: str | None = None
    engine_settings: dict[str, Any] | None = None
    parent_engine: dict[str, Any] | None = None
    others: tuple[Other, ...] = ()
    distances: tuple[Distance, ...] = ()
    effort: BuildCost | None = None
    seed: int | None = None
    limit: int | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.variant}"

    @property
    def executed(self) -> str:
        """The precision of the weights and, if it differs, the one that the engine computes in: all, or the rest of an
        int8 model."""
        if self.executes in (None, self.precision) or self.precision == "int8-dynamic":
            return self.precision
        return f"{self.precision}, {'rest ' if self.precision == 'int8' else ''}in {self.executes}"


class Failure(Document):
    """A variant without a card, and the reason."""

    family: str
    model: Name
    variant: Name
    why: str


class Study(Document):
    """`missing` are the variants that the time was too short for."""

    schema_: Literal[1] = Field(1, alias="schema")
    machine: Machine
    versions: dict[str, str]
    cards: tuple[StudyCard, ...]
    failed: tuple[Failure, ...] = ()
    missing: tuple[str, ...] = ()
    created: AwareDatetime
    seconds: Annotated[float, Field(ge=0)]

    @model_validator(mode="before")
    @classmethod
    def without_requirements(cls, given: Any) -> Any:
        """Drops `required`, an unused field of studies from earlier releases."""
        return {key: value for key, value in given.items() if key != "required"} if isinstance(given, dict) else given

    @property
    def whole(self) -> bool:
        return not self.failed and not self.missing


def read_study(out: Path) -> Study:
    """The study in a folder. Raises InputError if it is not valid."""
    return Study.from_json((out / FILE).read_bytes(), str(out / FILE))
