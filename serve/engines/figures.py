"""What an engine says of itself on its own `/metrics`: its requests, its key-value cache, and what it computes at once.

vLLM has more than a hundred metrics there. It is asked for a few by name, because it makes the text in the event loop
that streams. The scripted engine has the same names. The other engines say nothing: they take one request or one batch
at a time, and the ingress counts their requests.
"""

from collections.abc import Mapping
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

KINDS = ("vllm", "scripted")
"""The kinds of engines that have figures."""
SAMPLES = {
    "running": "vllm:num_requests_running",
    "waiting": "vllm:num_requests_waiting",
    "kv_cache_usage": "vllm:kv_cache_usage_perc",
    "prefix_query_tokens": "vllm:prefix_cache_queries_total",
    "prefix_hit_tokens": "vllm:prefix_cache_hits_total",
    "step_tokens": "vllm:iteration_tokens_total_sum",
}
"""By field of `Figures`: vLLM's name. Its usage of the cache is from 0 to 1, whatever the name says."""
STEPS = "vllm:iteration_tokens_total_bucket"
PATH = "/metrics/"
"""vLLM reads `name[]` with this slash only: without it, another application answers with every metric."""
QUERY = [("name[]", name) for name in (*SAMPLES.values(), STEPS)]


class Figures(NamedTuple):
    """None where the engine does not say it. `running` and `waiting` are requests, `kv_cache_usage` is a share from 0
    to 1. The others count since its start. `prefix_query_tokens` were looked up in the prefix cache,
    `prefix_hit_tokens` of them were in it. `steps` counts steps of the model that computed at most so many tokens, by
    that bound; `step_tokens` is the sum of their tokens."""

    running: float | None = None
    waiting: float | None = None
    kv_cache_usage: float | None = None
    prefix_query_tokens: float | None = None
    prefix_hit_tokens: float | None = None
    step_tokens: float | None = None
    steps: tuple[tuple[str, float], ...] = ()


def read(text: str) -> Figures:
    """The figures in an engine's metrics; other metrics are passed over. Raises ValueError for text that is not in
    Prometheus' format."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    values: Mapping[str, float] = {sample.name: sample.value for sample in samples}
    steps = tuple((sample.labels["le"], sample.value) for sample in samples if sample.name == STEPS)
    said = {field: values[name] for field, name in SAMPLES.items() if name in values}
    return Figures(**said, steps=steps)
