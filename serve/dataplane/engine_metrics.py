"""What engines know of themselves as metrics under our labels. The ingress that is asked shows what it heard last.

The engines count, not the ingresses, so prometheus-client's files of several processes are not used. Variants that
share an engine show the same figures.
"""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from serve.dataplane.upstream import Upstream
from serve.metrics import VARIANT

FAMILIES: dict[str, tuple[type[GaugeMetricFamily] | type[CounterMetricFamily], str, str]] = {
    "running": (GaugeMetricFamily, "understudy_engine_requests_running", "Requests that the engine computes."),
    "waiting": (GaugeMetricFamily, "understudy_engine_requests_waiting", "Requests that wait inside the engine."),
    "kv_cache_usage": (
        GaugeMetricFamily,
        "understudy_engine_kv_cache_usage_ratio",
        "Share of the key-value cache that is in use, 0 to 1.",
    ),
    "prefix_query_tokens": (
        CounterMetricFamily,
        "understudy_engine_prefix_cache_query_tokens",
        "Tokens of prompts that were looked up in the engine's prefix cache.",
    ),
    "prefix_hit_tokens": (
        CounterMetricFamily,
        "understudy_engine_prefix_cache_hit_tokens",
        "Tokens of these that were in the cache.",
    ),
}
"""By field of `Figures`: how it is shown."""
STEPS = ("understudy_engine_step_tokens", "Tokens that a step of the model computes: the size of the batch.")


class EngineMetrics(Collector):
    """The figures of the engines of `upstreams`."""

    def __init__(self, upstreams: Callable[[], Iterable[Upstream]]) -> None:
        self.upstreams = upstreams

    def collect(self) -> Iterator[Metric]:
        families = {field: kind(name, says, labels=VARIANT) for field, (kind, name, says) in FAMILIES.items()}
        steps = HistogramMetricFamily(*STEPS, labels=VARIANT)
        for upstream in self.upstreams():
            if (endpoint := upstream.endpoint) is None:
                continue
            for field, family in families.items():
                if (value := getattr(endpoint.figures, field)) is not None:
                    family.add_metric(upstream.labels, value)
            if endpoint.figures.steps:
                steps.add_metric(upstream.labels, endpoint.figures.steps, endpoint.figures.step_tokens)
        yield from (*families.values(), steps)
