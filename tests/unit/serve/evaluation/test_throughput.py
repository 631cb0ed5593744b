"""Saturation: what many requests at once cost the engine, and how long each takes."""

import asyncio

import pytest

from serve.evaluation.throughput import Saturated, latency_of
from variants.tasks import Example


async def test_cost_is_the_engines_cpu_time_over_just_those_requests() -> None:
    used = iter([100.0, 103.0])  # CPU-seconds of the engine's processes so far, at the first request and at the end

    async def predict(example: Example) -> str:
        await asyncio.sleep(0.002)
        return example.label

    saturated = Saturated(predict, lambda: next(used))
    answers = [await saturated(Example(str(number), "x", "a")) for number in range(6)]
    seen = saturated.end()
    assert answers == ["a"] * 6
    assert seen.cost_cpu_s == pytest.approx(500)
    assert 0 < seen.throughput_per_s < 500
    assert 0.002 <= seen.latency.p50 <= seen.latency.p95


def test_quantiles_of_latencies() -> None:
    latency = latency_of([number / 100 for number in range(101)])
    assert (latency.p50, latency.p95) == (0.5, pytest.approx(0.95))
    assert latency_of([0.25]).p95 == 0.25


def test_nothing_asked_is_no_figure() -> None:
    with pytest.raises(ValueError, match="no latencies"):
        latency_of([])
    with pytest.raises(ValueError, match="nothing was asked"):
        Saturated(None, lambda: 0.0).end()  # type: ignore[arg-type]
