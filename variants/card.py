"""The card: what was measured of one artifact, on which machine, in which executed precision."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from variants.machine import Machine
from variants.manifest import Precision
from variants.typed import Document, Sha256

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class Accuracy(Document):
    """Share of right answers on `n` distinct examples of a task's test split, with its 95 % interval."""

    task: str
    value: Share
    low: Share
    high: Share
    n: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _value_is_inside(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value: {self.value} is outside its interval {self.low} to {self.high}")
        return self


class Distance(Document):
    """How far `n` pictures that were drawn are from `real` held-out ones, as sets: the Frechet distance of what the
    task's judge says of them. It compares with distances of the same judge and the same n, and with nothing else."""

    task: str
    metric: Literal["frechet"] = "frechet"
    value: Annotated[float, Field(ge=0)]
    n: Annotated[int, Field(gt=1)]
    real: Annotated[int, Field(gt=1)]


class Latency(Document):
    """Of one request at a time, in seconds."""

    p50: Seconds
    p95: Seconds


class Card(Document):
    """What is None was not measured. `throughput_per_s` is requests per second, all that a request costs included;
    `inference_per_s` is examples per second of the forward pass alone, in batches of 8, by the engine's own clock."""

    schema_: Literal[1] = Field(1, alias="schema")
    digest: Sha256
    hardware: Machine
    precision: Precision
    versions: dict[str, str]
    accuracy: tuple[Accuracy, ...] = ()
    distances: tuple[Distance, ...] = ()
    latency_s: Latency | None = None
    throughput_per_s: Annotated[float, Field(gt=0)] | None = None
    inference_per_s: Annotated[float, Field(gt=0)] | None = None
    peak_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    artifact_bytes: Annotated[int, Field(gt=0)]
    measured_by: Annotated[str, Field(min_length=1, description="which program, and how")]
    created: AwareDatetime
