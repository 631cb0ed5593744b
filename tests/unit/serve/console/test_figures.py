"""Figures of the fleet: differences of two readings, and quantiles as Prometheus has them."""

import pytest

from serve import metrics
from serve.client.fleet import within_buckets
from serve.console.figures import GAP_S, LEAST_S, WINDOW_S, Counts, Readings, read

INF = float("inf")
REF = ("echo", "int8")


@pytest.mark.parametrize(
    ("buckets", "q", "expected"),
    [
        ({1.0: 10, 2.0: 10, INF: 10}, 0.5, 0.5),
        ({1.0: 5, 2.0: 10, INF: 10}, 0.95, 1.9),
        ({1.0: 0, 2.0: 0, INF: 10}, 0.5, 2.0),
        ({1.0: 0, INF: 0}, 0.5, None),
        ({}, 0.5, None),
    ],
)
def test_quantiles(buckets: dict[float, float], q: float, expected: float | None) -> None:
    assert within_buckets(buckets, q) == (expected if expected is None else pytest.approx(expected))


def counts(requests: float) -> dict[tuple[str, str], Counts]:
    return {REF: Counts(requests, 0, 2 * requests, {1.0: requests})}


def test_a_rate_is_of_the_last_minutes_once_they_are_known() -> None:
    readings = Readings()
    began = readings.began = 0.0
    first = readings.compare(counts(100), began + 1000)
    assert (first.is_whole, first.seconds, first.of(REF).requests) == (True, 1000, 100)
    assert readings.compare(counts(110), began + 1000 + LEAST_S - 1).is_whole
    later = readings.compare(counts(160), began + 1000 + LEAST_S)
    assert (later.is_whole, later.seconds, later.of(REF).requests) == (False, LEAST_S, 60)
    assert later.of(REF).latency == {1.0: 60}
    assert later.of(("echo", "none")).requests == 0


def test_old_readings_are_dropped_and_a_pause_leaves_one() -> None:
    readings = Readings()
    for number in range(100):
        lately = readings.compare(counts(number), number * GAP_S)
    assert WINDOW_S <= lately.seconds < WINDOW_S + 2 * GAP_S
    assert len(readings.kept) < WINDOW_S / GAP_S + 3
    assert readings.compare(counts(200), 10**6).of(REF).requests > 0


def test_failures_are_those_of_the_server() -> None:
    before = read().get(("made", "up"), Counts())
    for status, count in (("200", 5), ("400", 1), ("429", 2), ("502", 3)):
        metrics.requests.labels("made", "up", "weight", status).inc(count)
    metrics.output_tokens.labels("made", "up").inc(7)
    metrics.latency.labels("made", "up").observe(0.1)
    metrics.first_token.labels("made", "up").observe(0.01)
    counted = read()["made", "up"].since(before)
    assert (counted.requests, counted.failed, counted.tokens) == (11, 5, 7)
    assert (counted.latency[0.125], counted.latency[0.064], counted.first_token[0.016]) == (1, 0, 1)
