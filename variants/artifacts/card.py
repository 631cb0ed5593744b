"""The card: the measurements of one artifact, with the machine and the executed precision.

Cards of schema 1 have fewer measurements. They are read unchanged: what they lack is None or empty.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from variants.artifacts.manifest import Precision
from variants.document import Document, Sha256, absent
from variants.machine import Machine
from variants.metrics.harness import Harness

Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(ge=0)]


class _Measured(Document):
    """A `value` with its 95 % interval, on `n` distinct examples of a task's test split."""

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
    """One metric of the task; by default the share of right answers.

    The examples are the first `n` of the test split with the hash `test_sha256`. Older cards have None there.
    `harness` is given where lm-evaluation-harness measured the figure. `contrast` is the share of right answers minus
    the share that is right by another example's label: what the labels can tell at most.
    """

    test_sha256: Sha256 | None = None
    metric: str = "accuracy"
    unit: Literal["share", ""] = "share"
    better: Literal["higher", "lower"] = "higher"
    harness: Harness | None = Field(default=None, exclude_if=absent)
    contrast: Annotated[float, Field(gt=0, le=1)] | None = Field(default=None, exclude_if=absent)

    @model_validator(mode="after")
    def _a_share_is_between_0_and_1(self) -> Self:
        if self.unit == "share" and not 0 <= self.low <= self.high <= 1:
            raise ValueError(f"value: a share is between 0 and 1, not {self.low} to {self.high}")
        return self


class Difference(_Measured):
    """The artifact's figure less its parent's, on the same examples. `parent` is the digest of the parent."""

    metric: str
    parent: Sha256


class Agreement(_Measured):
    """The share of examples with the same answer of the artifact and `parent`, whether right or wrong."""

    parent: Sha256


class Distance(Document):
    """The Frechet distance between `n` generated pictures and `real` held-out ones, over features of the digit
    classifier. Only distances with the same classifier and the same n compare."""

    task: str
    metric: Literal["frechet"] = "frechet"
    value: Annotated[float, Field(ge=0)]
    n: Annotated[int, Field(gt=1)]
    real: Annotated[int, Field(gt=1)]


class Latency(Document):
    """Percentiles of the latency of one request, in seconds."""

    p50: Seconds
    p95: Seconds


class Ratio(Document):
    """The median over rounds with its interval (`serve/evaluation/speedup.py`)."""

    value: Annotated[float, Field(gt=0)]
    low: Annotated[float, Field(gt=0)]
    high: Annotated[float, Field(gt=0)]


class Speedup(Document):
    """How many times as fast as the parent's engine; both run at once and take requests in turns.

    `single` is for one request at a time, `saturated` for 8 at once. `inference` is for the forward pass alone. It is
    None where the engine does not time that.
    """

    single: Ratio
    saturated: Ratio
    inference: Ratio | None = None
    rounds: Annotated[int, Field(gt=0)]


class Card(Document):
    """The measurements of one artifact. None means not measured.

    - `parent_digest`: the artifact that `differences`, `agreement` and `speedup` compare with.
    - `precision`: the manifest's. `executes`: what the engine reports; for int8, the precision of the other layers.
    - `latency_s`: with one request at a time. `saturated_latency_s`: with 8 at once.
    - `throughput_per_s`: complete requests per second, with 8 at once.
    - `inference_per_s`: examples per second of the forward pass alone, timed by the engine. Texts are in batches of 8,
      images in batches of 32, a detector's images one by one.
    - `cost_cpu_s`: CPU-seconds of the engine's processes for 1,000 requests at saturation.
    - `cost_gpu_s`: GPU-seconds that are reserved for 1,000 requests at saturation: the engine's share times the time.
    - `load_s`: seconds from the engine's start to its first answer.
    - `resident_bytes`, `peak_memory_bytes`: memory as PSS, after the first requests and at its peak.
    - `peak_gpu_bytes`: the most memory on GPUs that the driver reported for the engine's processes.
    - `engine`, `parent_engine`: the settings of the engines that were measured, as in the stack file.
    """

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
    cost_gpu_s: Annotated[float, Field(gt=0)] | None = Field(default=None, exclude_if=absent)
    load_s: Seconds | None = None
    resident_bytes: Annotated[int, Field(ge=0)] | None = None
    peak_memory_bytes: Annotated[int, Field(gt=0)] | None = None
    peak_gpu_bytes: Annotated[int, Field(gt=0)] | None = Field(default=None, exclude_if=absent)
    artifact_bytes: Annotated[int, Field(gt=0)]
    engine: dict[str, Any] | None = None
    parent_engine: dict[str, Any] | None = None
    measured_by: Annotated[str, Field(min_length=1, description="which program, and how")]
    created: AwareDatetime
