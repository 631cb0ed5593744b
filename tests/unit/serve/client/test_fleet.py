"""Rates, shares and quantiles between two readings of a server's metrics."""

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from serve.client.fleet import Reading, quantile, rows, samples_of

HERE = {"model": "echo", "variant": "int8"}
MODELS = [
    {
        "model": "echo",
        "variants": [
            {**HERE, "weight": 1.0, "ready": True, "reason": None, "running": 1, "waiting": 2, "memory_bytes": 5},
            {
                **HERE, "variant": "nf4", "weight": 3.0, "ready": False, "reason": "its engine ended", "running": 0,
                "waiting": 0, "memory_bytes": None,
            },
        ],
    }
]  # fmt: skip


class Server:
    """Counts as `serve.metrics` does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "understudy_requests", "-", ("model", "variant", "reason", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "understudy_request_seconds", "-", ("model", "variant"), buckets=(1, 2, 4), registry=self.registry
        )

    def answer(self, status: str, *seconds: float) -> None:
        for each in seconds:
            self.requests.labels("echo", "int8", "weight", status).inc()
            self.seconds.labels("echo", "int8").observe(each)

    def read(self, at: float) -> Reading:
        return Reading(at, MODELS, samples_of(generate_latest(self.registry).decode()))


def test_a_first_reading_covers_all_since_the_start() -> None:
    server = Server()
    server.answer("200", 0.5, 0.5, 0.5)
    server.answer("502", 0.5)
    int8, nf4 = rows(server.read(100.0))
    assert (int8.requests, int8.failed, int8.per_s, int8.share, int8.waiting) == (4, 0.25, None, 0.25, 2)
    assert (nf4.requests, nf4.failed, nf4.p95_s, nf4.share) == (0, 0.0, None, 0.75)
    assert (nf4.ready, nf4.reason) == (False, "its engine ended")


def test_a_later_reading_covers_the_time_between() -> None:
    server = Server()
    server.answer("502", 3, 3, 3, 3)
    before = server.read(100.0)
    server.answer("200", 0.5, 0.5)
    int8, _ = rows(server.read(104.0), before)
    assert (int8.requests, int8.failed, int8.per_s) == (2, 0.0, 0.5)
    assert int8.p95_s == pytest.approx(0.95)


def test_a_server_that_restarted_has_no_negative_rates() -> None:
    server, again = Server(), Server()
    server.answer("200", *[1] * 9)
    again.answer("200", 1, 1)
    int8, _ = rows(again.read(102.0), server.read(100.0))
    assert (int8.requests, int8.per_s) == (2, 1.0)


@pytest.mark.parametrize(
    ("seconds", "share", "wanted"),
    [
        ([0.5, 0.5, 1.5, 1.5], 0.5, 1.0),
        ([0.5, 0.5, 1.5, 1.5], 0.75, 1.5),
        ([3.0] * 4, 0.5, 3.0),
        ([9.0] * 4, 0.5, 4.0),  # above the last bound
        ([], 0.5, None),
    ],
)
def test_a_quantile_is_prometheus_own(seconds: list[float], share: float, wanted: float | None) -> None:
    server = Server()
    server.answer("200", *seconds)
    assert quantile(share, server.read(0.0).samples, "understudy_request_seconds", HERE) == wanted
