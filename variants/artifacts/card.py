"""The card: what was measured of one artifact, on which machine, in which executed precision.

Cards of schema 1 know less and are read as they are: what they did not measure is None or empty.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from variants.artifacts.manifest import Precision
from variants.document import Document, Sha256
from variants.machine import Machine

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Measured(Document):
    """`value` with its 95 % interval on `n` distinct examples of a task's test split."""

    task: str
    value: float
    low: float
    high: float
    n: Annotated[int, Field(gt=0)]

    @model_validator(mode="after")
    def _value_is_inside(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"value: {self.value} is outside its interval {self.low} to {self.high}")
        return self


class Accuracy(_Measured):
    """How good the answers are, by a metric of the task: the share of right ones unless it says something else.
    `test_sha256` says which test split the examples are the first of; None on cards from before that was kept."""

    test_sha256: Sha256 | None = None
    metric: str = "accuracy"
    unit: Literal["share", ""] = "share"
    better: Literal["higher", "lower"] = "higher"

    @model_validator(mode="after")
    def _a_share_is_between_0_and_1(self) -> Self:
        if self.unit == "share" and not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"value: a share is between 0 and 1, not {self.low} to {self.high}")
        return self


class Difference(_Measured):
    """The artifact's figure less that of `parent`, an artifact's digest, on the same examples."""

    metric: str
    parent: Sha256


class Agreement(_Measured):
    """The share of examples to which the artifact and `parent` give the same answer, right or wrong."""

    parent: Sha256


class Distance(Document):
    """How far `n` pictures that were drawn are from `real` held-out ones, as sets: the Frechet distance of what the
    digit classifier says of them. It compares with distances of the same classifier and the same n, and with nothing
    else."""

    task: str
    metric: Literal["frechet"] = "frechet"
    value: Annotated[float, Field(ge=0)]
    n: Annotated[int, Field(gt=1)]
    real: Annotated[int, Field(gt=1)]


class Latency(Document):
    """Of one request, in seconds."""

    p50: Seconds
    p95: Seconds


class Ratio(Document):
    """The median over rounds, and its interval (`serve/evaluation/speedup.py`)."""

    value: Annotated[float, Field(gt=0)]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]


class Speedup(Document):
    """How many times as fast as `parent_digest`'s engine, both up and asked in turns: by single requests, and with 8 at
    once; `inference` is of the forward pass alone, where the engine times it."""

    single: Ratio
    saturated: Ratio
    inference: Ratio | None = None
    rounds: Annotated[int, Field(gt=0)]


class Card(Document):
    """What is None was not measured. `precision` is the manifest's, `executes` what the engine says that it computes
    in: of int8, in what the rest is computed.
    `latency_s` is of one request at a time, `saturated_latency_s` with 8 at once;
    `throughput_per_s` is requests per second with 8 at once, all that a request costs included;
    `inference_per_s` is examples per second of the forward pass alone, by the engine's own clock: texts in batches
    of 8, images of 32, a detector's one by one.
    `cost_cpu_s` are the CPU-seconds that the engine's processes use for 1,000 requests at saturation.
    `load_s` is from the engine's start until it answers. Memory is PSS: `resident_bytes` once warm, and the highest
    seen. `parent_digest` is the artifact that `differences`, `agreement` and `speedup` compare with. `engine` and
    `parent_engine` are the settings of the engines that both were measured in, as the stack file has them."""

    schema_: Literal[1, 2] = Field(2, alias="schema")
    digest: Sha256
    parent_digest: Sha256 | None = None
    hardware: Machine
    precision: Precision
    executes: str | None = None
    versions: dict[str, str]
    accuracy: tuple[Accuracy, ...] = ()
    differences: tuple[Difference, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    distances: tuple[Distance, ...] = ()
    latency_s: Latency | None = None
    saturated_latency_s: Latency | None = None
    speedup: Speedup | None = None
    throughput_per_s: Annotated[float, Field(gt=0)] | None = None
    inference_per_s: Annotated[float, Field(gt=0)] | None = None
    cost_cpu_s: Annotated[float, Field(ge=0)] | None = None
    load_s: Seconds | None = None
    resident_bytes: Annotated[int, Field(ge=0)] | None = None
    peak_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    artifact_bytes: Annotated[int, Field(gt=0)]
    engine: dict[str, Any] | None = None
    parent_engine: dict[str, Any] | None = None
    measured_by: Annotated[str, Field(min_length=1, description="which program, and how")]
    created: AwareDatetime
