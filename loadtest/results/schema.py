"""The figures of a campaign: the schema of `summary.json`. In seconds and bytes; null if nothing was measured."""

import json
from typing import Any, Literal

from pydantic import BaseModel, Field

from loadtest.results.compare import AccuracyDifference, SpeedRatio, is_share
from loadtest.results.rollout_verdict import VerdictFigures
from loadtest.target import Task
from variants.document import Document
from variants.metrics.base import Unit


class Quantiles(Document):
    """Quantiles of a time in seconds over `n` requests, interpolated linearly."""

    p50: float
    p95: float
    p99: float
    n: int


class AccuracyFigure(Document):
    """The share of right answers on `n` distinct examples, with its 95 % Wilson interval. For another `metric` it is a
    figure of that `unit`, with a bootstrap interval."""

    task: str
    metric: str = "accuracy"
    value: float
    low: float
    high: float
    n: int
    unit: Unit = Field(default="share", exclude_if=is_share)


class SliceFigures(Document):
    """The rates inside the window of one slice. `load_cores` is the number of cores that the load generator used."""

    slice: int
    seconds: float
    throughput_rps: float
    output_tokens_per_s: float | None
    load_cores: float


class MixedFigures(Document):
    """The variant's requests in the mixed part and their share of all. Latency begins at the planned arrival."""

    requests: int
    failed: int
    share: float
    latency_s: Quantiles | None
    ttft_s: Quantiles | None


class VariantFigures(Document):
    """One variant. `requests`, `failed` and `output_tokens` are of the whole campaign.

    `clients`, `slices`, throughputs and times are of the speed part, in which the variant was alone on the machine.
    Throughputs are medians of the slices. Times are of requests that ended inside a slice's window.
    """

    variant: str
    method: str
    precision: str
    parent: str | None
    engine: str
    note: str | None
    artifact_sha256: str
    artifact_bytes: int
    requests: int
    failed: int
    clients: int | None
    output_tokens: int
    slices: tuple[SliceFigures, ...]
    throughput_rps: float | None
    output_tokens_per_s: float | None
    latency_s: Quantiles | None
    ttft_s: Quantiles | None
    tpot_s: Quantiles | None
    accuracy: tuple[AccuracyFigure, ...]
    mixed: MixedFigures | None
    peak_memory_bytes: int | None


class Comparison(Document):
    """A variant compared with its parent."""

    variant: str
    parent: str
    bytes_ratio: float
    speed: SpeedRatio | None
    accuracy: tuple[AccuracyDifference, ...]


class ModelFigures(Document):
    """One model. `says` are its figures in sentences. `lost` is the number of routed requests that no variant got."""

    model: str
    task: Task
    variants: tuple[VariantFigures, ...]
    comparisons: tuple[Comparison, ...]
    lost: int
    says: tuple[str, ...]


class Summary(BaseModel):
    """The whole campaign. `limits` are sentences on what the figures do not show. `verdict` is on a shadow variant,
    and null if there was none.

    `wall_s`, `phases_s` and `peak_memory_bytes` are those of the demo if it wrote a `phases.json`. Otherwise they are
    those of the campaign, and the peak is null.
    """

    model_config = Document.model_config
    schema_: Literal[1] = Field(default=1, alias="schema")
    machine: dict[str, Any]
    versions: dict[str, Any]
    campaign: str
    started: str
    wall_s: float
    phases_s: dict[str, float]
    load_s: dict[str, float]
    peak_memory_bytes: int | None
    models: tuple[ModelFigures, ...]
    limits: tuple[str, ...]
    verdict: VerdictFigures | None = None

    def to_json(self) -> str:
        """The text of summary.json."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1) + "\n"
