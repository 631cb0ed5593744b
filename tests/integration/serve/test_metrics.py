"""A real Prometheus scrapes the server and returns its metrics."""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.prometheus.local import start_prometheus
from tests.integration.conftest import Served
from tests.support.programs import need

pytestmark = pytest.mark.integration
QUERIES = (
    'understudy_requests_total{model="echo",variant="int8",reason="pinned",status="200"}',
    'understudy_request_seconds_count{model="echo",variant="int8"}',
    'understudy_time_to_first_token_seconds_count{model="echo",variant="int8"}',
    'understudy_time_per_output_token_seconds_count{model="echo",variant="int8"}',
    'understudy_output_tokens_total{model="echo",variant="int8"}',
    'understudy_engine_memory_bytes{model="echo",variant="int8"}',
    'understudy_variant_info{model="echo",variant="int8",parent="baseline"}',
)


def test_prometheus_scrapes_the_server(served: Served, tmp_path: Path) -> None:
    need("prometheus")
    body = {"model": "echo@int8", "prompt": "a b c d e f", "max_tokens": 8, "ignore_eos": True, "stream": True}
    for _ in range(3):
        assert httpx.post(f"{served.url}/v1/completions", json=body).status_code == 200
    with ExitStack() as children:
        prometheus = start_prometheus(children, served.url, tmp_path / "prometheus")
        assert prometheus is not None
        values = wait_for(prometheus, QUERIES)
    assert set(values) == set(QUERIES)
    assert values[QUERIES[0]] >= 3
    assert values[QUERIES[4]] >= 24


def wait_for(prometheus: str, queries: Sequence[str]) -> dict[str, float]:
    """Wait until all queries have a value, at most a minute; returns the values so far."""
    values: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while len(values) < len(queries) and time.monotonic() < deadline:
        time.sleep(1)
        values = {query: value for query in queries if (value := ask(prometheus, query)) is not None}
    return values


def ask(prometheus: str, query: str) -> float | None:
    """The value of an instant query; None while Prometheus is starting or has no value."""
    try:
        answer: dict[str, Any] = httpx.get(f"{prometheus}/api/v1/query", params={"query": query}).json()
    except httpx.TransportError:
        return None
    result = answer["data"]["result"]
    return float(result[0]["value"][1]) if result else None
