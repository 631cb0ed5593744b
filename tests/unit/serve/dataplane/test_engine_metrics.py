"""Figures of engines are shown under the model and the variant that we know them by, and only where there are some."""

from types import SimpleNamespace
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.registry import Collector

from serve.dataplane.engine_metrics import EngineMetrics
from serve.dataplane.upstream import Upstream
from serve.engines.endpoint import Endpoint
from serve.engines.figures import Figures


def upstream(variant: str, figures: Figures | None) -> Upstream:
    """One whose engine is down where `figures` is None."""
    endpoint = None if figures is None else Endpoint("http://127.0.0.1:1", 1, 1, 1, "secret", figures=figures)
    return cast(Upstream, SimpleNamespace(labels=("m", variant), endpoint=endpoint))


def lines(metrics: Collector) -> set[str]:
    registry = CollectorRegistry()
    registry.register(metrics)
    return {line for line in generate_latest(registry).decode().splitlines() if not line.startswith("#")}


def test_figures_have_our_names_and_labels() -> None:
    steps = (("1.0", 5.0), ("8.0", 7.0), ("+Inf", 9.0))
    metrics = EngineMetrics(lambda: [upstream("int8", Figures(3, 1, 0.25, 640, 512, 1034, steps))])
    labels = '{model="m",variant="int8"}'
    assert lines(metrics) == {
        f"understudy_engine_requests_running{labels} 3.0",
        f"understudy_engine_requests_waiting{labels} 1.0",
        f"understudy_engine_kv_cache_usage_ratio{labels} 0.25",
        f"understudy_engine_prefix_cache_query_tokens_total{labels} 640.0",
        f"understudy_engine_prefix_cache_hit_tokens_total{labels} 512.0",
        'understudy_engine_step_tokens_bucket{le="1.0",model="m",variant="int8"} 5.0',
        'understudy_engine_step_tokens_bucket{le="8.0",model="m",variant="int8"} 7.0',
        'understudy_engine_step_tokens_bucket{le="+Inf",model="m",variant="int8"} 9.0',
        f"understudy_engine_step_tokens_count{labels} 9.0",
        f"understudy_engine_step_tokens_sum{labels} 1034.0",
    }


def test_an_engine_that_is_down_or_says_nothing_has_no_series() -> None:
    metrics = EngineMetrics(lambda: [upstream("int8", None), upstream("int4", Figures())])
    assert lines(metrics) == set()


def test_the_present_upstreams_are_shown() -> None:
    served = [upstream("int8", Figures(running=2))]
    metrics = EngineMetrics(lambda: served)
    served[:] = [upstream("int4", Figures(running=0))]
    assert lines(metrics) == {'understudy_engine_requests_running{model="m",variant="int4"} 0.0'}
