"""The figures of each variant of a running server, between two readings of its metrics.

Rates and quantiles cover the time between the readings; the first one covers the time since the server's start. A
quantile is interpolated in its bucket, as Prometheus' `histogram_quantile` does."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
Samples = dict[tuple[str, Labels], float]
"""The value of each sample, by name and labels."""


@dataclass(frozen=True)
class Reading:
    """A server's variants and samples at one time, in seconds."""

    at: float = 0.0
    models: list[dict[str, Any]] = field(default_factory=list)
    samples: Samples = field(default_factory=dict)


@dataclass(frozen=True)
class VariantRow:
    """One variant. Times in seconds, None without requests. `share` is of the model's weights, `failed` of the requests
    between the readings. `per_s` and `tokens_per_s` are None for the first reading."""

    model: str
    variant: str
    ready: bool
    reason: str | None
    share: float
    requests: int
    failed: float
    p50_s: float | None
    p95_s: float | None
    ttft_s: float | None
    running: int
    waiting: int
    memory_bytes: int | None
    per_s: float | None = None
    tokens_per_s: float | None = None

    @property
    def name(self) -> str:
        return f"{self.model}@{self.variant}"


def samples_of(text: str) -> Samples:
    """The samples of a metrics page in Prometheus' text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def rows(now: Reading, before: Reading | None = None) -> list[VariantRow]:
    """One row a variant, in the server's order."""
    samples = since(now.samples, before.samples if before else {})
    seconds = now.at - before.at if before else None
    return [row_of(model, variant, samples, seconds) for model in now.models for variant in model["variants"]]


def row_of(model: dict[str, Any], variant: dict[str, Any], samples: Samples, seconds: float | None) -> VariantRow:
    """`samples` are what was counted in `seconds`, None for the time since the start."""
    here = {"model": model["model"], "variant": variant["variant"]}
    weights = sum(each["weight"] for each in model["variants"])
    requests = total(samples, "understudy_requests_total", here)
    failed = requests - sum(
        value
        for labels, value in matching(samples, "understudy_requests_total", here)
        if not labels["status"].startswith("5") and labels["status"] != "429"
    )
    tokens = total(samples, "understudy_output_tokens_total", here)
    return VariantRow(
        **here,
        ready=variant["ready"],
        reason=variant["reason"],
        share=variant["weight"] / weights if weights else 0.0,
        requests=round(requests),
        failed=failed / requests if requests else 0.0,
        p50_s=quantile(0.5, samples, "understudy_request_seconds", here),
        p95_s=quantile(0.95, samples, "understudy_request_seconds", here),
        ttft_s=quantile(0.95, samples, "understudy_time_to_first_token_seconds", here),
        running=variant["running"],
        waiting=variant["waiting"],
        memory_bytes=variant["memory_bytes"],
        per_s=requests / seconds if seconds else None,
        tokens_per_s=tokens / seconds if seconds else None,
    )


def since(now: Samples, before: Samples) -> Samples:
    """What was counted between two readings. After a restart of the server, all that it has counted."""
    return {key: value - before.get(key, 0.0) if value >= before.get(key, 0.0) else value for key, value in now.items()}


def matching(samples: Samples, name: str, here: Mapping[str, str]) -> Iterator[tuple[dict[str, str], float]]:
    """The labels and values of a metric's samples that have the labels `here`."""
    for (each, labels), value in samples.items():
        if each == name and here.items() <= dict(labels).items():
            yield dict(labels), value


def total(samples: Samples, name: str, here: Mapping[str, str]) -> float:
    return sum(value for _, value in matching(samples, name, here))


def quantile(share: float, samples: Samples, name: str, here: Mapping[str, str]) -> float | None:
    """The time, in seconds, that this share of a histogram's observations keeps; see `within_buckets`."""
    buckets = matching(samples, f"{name}_bucket", here)
    return within_buckets({float(labels["le"]): count for labels, count in buckets}, share)


def within_buckets(buckets: Mapping[float, float], share: float) -> float | None:
    """The value that this share of the observations keeps, by linear interpolation within its bucket. `buckets` are
    counts by upper end, those of smaller buckets included. None without observations. Above the last finite end it is
    that end."""
    total = max(buckets.values(), default=0.0)
    if not total:
        return None
    rank, low, below = share * total, 0.0, 0.0
    for end, count in sorted(buckets.items()):
        if count >= rank:
            return low if math.isinf(end) else low + (end - low) * (rank - below) / (count - below)
        low, below = end, count
    return low
