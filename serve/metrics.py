"""Every metric: name, unit, labels, buckets.

prometheus-client's multiprocess mode, switched on by PROMETHEUS_MULTIPROC_DIR, lets every ingress process of a node
write its own files; `/metrics` merges them, and what a dead process counted stays counted. Labels are only ever
`model`, `variant`, `reason`, `status`, `task`, `outcome` and `of`, whose values come from the stack file and fixed
lists, never from a client. Latency is of requests that were answered (200) or timed out (504). Time to first token runs
from the request's arrival at the ingress, queue included; time per output token leaves the first token out; both, and
output tokens, are of streams that broke off too, as far as they came.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client import multiprocess as multi
from prometheus_client.registry import REGISTRY, Collector

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
PER_TOKEN = (0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096, 0.128, 0.256, 0.512, 1)
VARIANT = ("model", "variant")

requests = Counter("understudy_requests", "Requests answered.", (*VARIANT, "reason", "status"))
errors = Counter("understudy_errors", "Requests that were refused before a variant was chosen.", ("status",))
latency = Histogram(
    "understudy_request_seconds",
    "Arrival to last byte of requests that were answered (200), or timed out (504).",
    VARIANT,
    buckets=SECONDS,
)
first_token = Histogram(
    "understudy_time_to_first_token_seconds",
    "Arrival at the ingress to the first streamed token, queue included.",
    VARIANT,
    buckets=SECONDS,
)
per_token = Histogram(
    "understudy_time_per_output_token_seconds",
    "Mean time between streamed tokens of a request, the first left out.",
    VARIANT,
    buckets=PER_TOKEN,
)
prompt_tokens = Counter("understudy_prompt_tokens", "Tokens in prompts.", VARIANT)
output_tokens = Counter("understudy_output_tokens", "Tokens in answers.", VARIANT)
labelled = Counter(
    "understudy_labelled_requests",
    "Requests that carried their label, by whether the answer was right.",
    (*VARIANT, "task", "outcome"),
)
shadows = Counter(
    "understudy_shadow_pairs",
    "Requests chosen to be compared, by what came of them; see docs/operating.md.",
    (*VARIANT, "outcome"),
)
shadows_waiting = Gauge(
    "understudy_shadow_waiting",
    "Requests chosen to be compared that wait for a quiet moment.",
    VARIANT,
    multiprocess_mode="livesum",
)
agreement = Histogram(
    "understudy_shadow_agreement",
    "How much of the parent's answer the variant agrees with, and the parent itself when asked again.",
    (*VARIANT, "of"),
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1),
)
feedback = Counter("understudy_feedback", "Scores given for answers.", VARIANT)
labelled_score = Counter(
    "understudy_labelled_score",
    "Outcomes of labelled requests, summed: 1 for a right answer, 0 for a wrong one, F1 of a detector's boxes.",
    (*VARIANT, "task"),
)
queued = Gauge("understudy_queued_requests", "Waiting for the engine.", VARIANT, multiprocess_mode="livesum")
running = Gauge("understudy_running_requests", "At the engine.", VARIANT, multiprocess_mode="livesum")
ready = Gauge("understudy_variant_ready", "1 when the variant answers.", VARIANT, multiprocess_mode="livemin")
weight = Gauge("understudy_variant_weight", "Share of routed requests.", VARIANT, multiprocess_mode="livemax")
memory = Gauge(
    "understudy_engine_memory_bytes",
    "PSS of the engine's process tree.",
    VARIANT,
    multiprocess_mode="livemax",
)
peak_memory = Gauge(
    "understudy_engine_peak_memory_bytes",
    "Highest PSS of the engine's process tree since it started.",
    VARIANT,
    multiprocess_mode="livemax",
)
variant_info = Gauge(
    "understudy_variant_info",
    "1; what the variant is stands in the labels.",
    (*VARIANT, "method", "precision", "engine", "parent", "artifact"),
    multiprocess_mode="livemax",
)


def render(live: Collection[tuple[str, str, str]]) -> bytes:
    """The node's metrics in Prometheus' text format. Gauges are of what is `live` (model, variant, artifact) alone: a
    variant that was removed would otherwise be not ready for ever."""
    registry = CollectorRegistry()
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if folder:
        fold_dead(Path(folder))
        registry.register(LiveGauges(multi.MultiProcessCollector(None, path=folder), live))
    else:
        registry.register(LiveGauges(REGISTRY, live))
    return generate_latest(registry)


class LiveGauges(Collector):
    """Everything of another collector but the gauges of what is no longer live, which prometheus-client's multiprocess
    mode cannot remove."""

    def __init__(self, collector: Collector, live: Collection[tuple[str, str, str]]) -> None:
        self.collector, self.artifacts = collector, live
        self.variants = {(model, variant) for model, variant, _ in live}

    def collect(self) -> Iterator[Metric]:
        for metric in self.collector.collect():
            if metric.type == "gauge":
                metric.samples = [sample for sample in metric.samples if self.is_live(sample.labels)]
            yield metric

    def is_live(self, labels: Mapping[str, str]) -> bool:
        name = labels.get("model"), labels.get("variant")
        if name == (None, None):
            return True
        return (*name, labels["artifact"]) in self.artifacts if "artifact" in labels else name in self.variants


def fold_dead(folder: Path) -> None:
    """Take the live gauges of dead processes out; their counters and histograms stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            multi.mark_process_dead(pid, path=str(folder))
