"""What vLLM would say of the same requests on its `/metrics`, under vLLM's names, for tests of what reads it.

A token of an answer is a step of its own. The prefix cache holds the latest prompt alone, and a request fills a part of
the key-value cache that is as large as its prompt's part of the context.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, make_asgi_app
from starlette.types import ASGIApp


class Statistics:
    """Belongs to one event loop. `context` is the most tokens of a prompt and its answer."""

    def __init__(self, context: int) -> None:
        self.context, self.latest = context, tuple[int, ...]()
        self.registry = CollectorRegistry()
        self.running = Gauge("vllm:num_requests_running", "Requests that run.", registry=self.registry)
        self.waiting = Gauge("vllm:num_requests_waiting", "Requests that wait: none.", registry=self.registry)
        self.cache = Gauge("vllm:kv_cache_usage_perc", "Share of the cache in use.", registry=self.registry)
        self.queries = Counter("vllm:prefix_cache_queries", "Tokens looked up.", registry=self.registry)
        self.hits = Counter("vllm:prefix_cache_hits", "Tokens that were there.", registry=self.registry)
        self.steps = Histogram(
            "vllm:iteration_tokens_total", "Tokens in a step.", buckets=(1, 8, 64, 512), registry=self.registry
        )

    @property
    def app(self) -> ASGIApp:
        return make_asgi_app(self.registry)

    @contextmanager
    def request(self, prompt: Sequence[int]) -> Iterator[None]:
        """Counts a request that is computed in this block."""
        self.queries.inc(len(prompt))
        if tuple(prompt) == self.latest:
            self.hits.inc(len(prompt))
        self.latest = tuple(prompt)
        part = len(prompt) / self.context
        self.running.inc()
        self.cache.inc(part)
        self.steps.observe(len(prompt))
        try:
            yield
        finally:
            self.running.dec()
            self.cache.dec(part)

    def token(self) -> None:
        """Counts the step of one token of an answer."""
        self.steps.observe(1)
