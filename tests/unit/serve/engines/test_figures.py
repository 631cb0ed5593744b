"""What is read of an engine's own metrics, and that vLLM has them under these names."""

import importlib.util
from pathlib import Path

import pytest

from serve.engines.figures import QUERY, SAMPLES, STEPS, Figures, read

TEXT = """\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny@baseline"} 3.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="tiny@baseline"} 1.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="tiny@baseline"} 0.25
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="tiny@baseline"} 640.0
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="tiny@baseline"} 512.0
# TYPE vllm:iteration_tokens_total histogram
vllm:iteration_tokens_total_bucket{engine="0",le="1.0",model_name="tiny@baseline"} 5.0
vllm:iteration_tokens_total_bucket{engine="0",le="8.0",model_name="tiny@baseline"} 7.0
vllm:iteration_tokens_total_bucket{engine="0",le="+Inf",model_name="tiny@baseline"} 9.0
vllm:iteration_tokens_total_count{engine="0",model_name="tiny@baseline"} 9.0
vllm:iteration_tokens_total_sum{engine="0",model_name="tiny@baseline"} 1034.0
"""
OTHER = '# TYPE http_requests_total counter\nhttp_requests_total{handler="/v1/completions"} 4.0\n'


def test_the_figures_are_read_and_nothing_else() -> None:
    steps = (("1.0", 5.0), ("8.0", 7.0), ("+Inf", 9.0))
    assert read(TEXT + OTHER) == Figures(3, 1, 0.25, 640, 512, 1034, steps)


def test_what_an_engine_does_not_say_is_none() -> None:
    assert read(OTHER) == Figures()
    assert read("") == Figures()


def test_what_is_no_metrics_is_refused() -> None:
    with pytest.raises(ValueError, match="float"):
        read("vllm:num_requests_running many")


def test_vllm_has_them_under_these_names() -> None:
    """They stand in the source of what it counts."""
    source = importlib.util.find_spec("vllm")
    assert source is not None
    assert source.origin is not None
    text = (Path(source.origin).parent / "v1" / "metrics" / "loggers.py").read_text()
    for name in (*SAMPLES.values(), STEPS):
        base = name.removesuffix("_sum").removesuffix("_bucket")
        assert f'name="{base}"' in text or f'name="{base.removesuffix("_total")}"' in text
    assert len(QUERY) == len(SAMPLES) + 1
