"""Every metric that ingresses count: name, unit, labels, buckets. What the controller and engines count stands in
`serve.api.controller_metrics` and `serve.dataplane.engine_metrics`.

In prometheus-client's multiprocess mode (PROMETHEUS_MULTIPROC_DIR is set) every ingress process of a node writes its
own files. `/metrics` merges them, and counts of dead processes stay. Label values (`model`, `variant`, `reason`,
`status`, `task`, `outcome`, `of`, `key`, `why`) come from the stack file and fixed lists, never from a client.

Latency covers requests that were answered (200) or timed out (504). Time to first token starts at the request's arrival
at the ingress and includes the queue. Time per output token excludes the first token. Both, and output tokens, include
incomplete streams.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client import multiprocess as multi
from prometheus_client.registry import REGISTRY, Collector

SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)
PER_TOKEN = (0.002, 0.004, 0.008, 0.012, 0.016, 0.024, 0.032, 0.048, 0.064, 0.096, 0.128, 0.256, 0.512, 1)
VARIANT = ("model", "variant")

requests = Counter("understudy_requests", "Requests answered.", (*VARIANT, "reason", "status"))
errors = Counter("understudy_errors", "Requests that ended before a variant was chosen.", ("status",))
latency = Histogram(
    "understudy_request_seconds",
    "Arrival to last byte of requests that were answered (200) or timed out (504).",
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
    "Mean time between streamed tokens of a request, without the first token.",
    VARIANT,
    buckets=PER_TOKEN,
)
key_requests = Counter("understudy_key_requests", "Requests with a known API key that were let in.", ("key",))
key_refused = Counter("understudy_key_refused", "Requests with a known API key that were refused.", ("key", "why"))
key_tokens = Counter("understudy_key_tokens", "Tokens of prompts and answers, by API key.", ("key",))
prompt_tokens = Counter("understudy_prompt_tokens", "Tokens in prompts.", VARIANT)
output_tokens = Counter("understudy_output_tokens", "Tokens in answers.", VARIANT)
labelled = Counter(
    "understudy_labelled_requests",
    "Requests that carried their label, by whether the answer was right.",
    (*VARIANT, "task", "outcome"),
)
shadows = Counter(
    "understudy_shadow_pairs",
    "Requests sampled for comparison, by outcome; see docs/operating.md.",
    (*VARIANT, "outcome"),
)
shadow_requests = Counter(
    "understudy_shadow_requests",
    "Requests that a shadow could have sampled, by whether they are comparable, or why not.",
    (*VARIANT, "why"),
)
shadow_lost = Counter(
    "understudy_shadow_lost",
    "Sampled requests without an outcome, by reason; those that found no time for a comparison are not among them.",
    (*VARIANT, "why"),
)
shadows_waiting = Gauge(
    "understudy_shadow_waiting",
    "Sampled requests whose replay waits for low load.",
    VARIANT,
    multiprocess_mode="livesum",
)
agreement = Histogram(
    "understudy_shadow_agreement",
    "Agreement with the parent's answer: of the variant, and of the parent when asked again.",
    (*VARIANT, "of"),
    buckets=(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 1),
)
judged = Counter(
    "understudy_judged_pairs",
    "Questions to a judge about answers that differ, by what came of them; see docs/operating.md.",
    (*VARIANT, "outcome"),
)
feedback = Counter("understudy_feedback", "Scores given for answers.", VARIANT)
labelled_score = Counter(
    "understudy_labelled_score",
    "Sum of the outcomes of labelled requests: 1 for a right answer, 0 for a wrong one, F1 of a detector's boxes.",
    (*VARIANT, "task"),
)
queued = Gauge("understudy_queued_requests", "Requests waiting for the engine.", VARIANT, multiprocess_mode="livesum")
running = Gauge("understudy_running_requests", "Requests running at the engine.", VARIANT, multiprocess_mode="livesum")
ready = Gauge("understudy_variant_ready", "1 when the variant is ready.", VARIANT, multiprocess_mode="livemin")
down = Gauge(
    "understudy_variant_down",
    "1 for the reason why it is not ready: starting, ended, hung, wrong, damaged, failing, unreachable or refused.",
    (*VARIANT, "reason"),
    multiprocess_mode="livemax",
)
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
restarts = Gauge(
    "understudy_engine_restarts",
    "Starts of the variant's engine beyond the first, since the engine was deployed.",
    VARIANT,
    multiprocess_mode="livemax",
)
variant_info = Gauge(
    "understudy_variant_info",
    "Always 1; the labels describe the variant.",
    (*VARIANT, "method", "precision", "engine", "parent", "artifact"),
    multiprocess_mode="livemax",
)


def render(live: Collection[tuple[str, str, str]], *others: Collector) -> bytes:
    """The node's metrics and those of `others` in Prometheus' text format. Gauges cover only the `live` (model,
    variant, artifact): otherwise a removed variant would be reported as not ready for ever."""
    registry = CollectorRegistry()
    registry.register(LiveGauges(collector(), live))
    for other in others:
        registry.register(other)
    return generate_latest(registry)


def collector() -> Collector:
    """The metrics of all ingress processes of the node."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder:
        return REGISTRY
    fold_dead(Path(folder))
    return multi.MultiProcessCollector(None, path=folder)


@dataclass
class Total:
    """Requests of one variant that were answered (200), and that failed; seconds of those whose latency counts."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0


def totals() -> dict[tuple[str, str], Total]:
    """The totals since the server's start, by model and variant. Reads files, so call it in a thread."""
    by_variant: dict[tuple[str, str], Total] = {}
    for metric in collector().collect():
        for sample in metric.samples:
            if sample.name not in ("understudy_requests_total", "understudy_request_seconds_sum"):
                continue
            total = by_variant.setdefault((sample.labels["model"], sample.labels["variant"]), Total())
            if sample.name == "understudy_request_seconds_sum":
                total.seconds += sample.value
            elif sample.labels["status"] == "200":
                total.answered += int(sample.value)
            else:
                total.failed += int(sample.value)
    return by_variant


class LiveGauges(Collector):
    """Another collector's metrics without the gauges of removed variants, which prometheus-client's multiprocess mode
    cannot remove."""

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
    """Remove the live gauges of dead processes; their counters and histograms stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            multi.mark_process_dead(pid, path=str(folder))
