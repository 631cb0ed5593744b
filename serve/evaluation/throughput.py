"""Latency, requests a second, and cost of an engine that has many requests at once.

The cost is the CPU time of the engine's own processes, without that of the client. On a shared machine it depends less
on other processes than requests a second do.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from variants.artifacts.card import Latency
from variants.evaluation.evaluate import Predict
from variants.tasks import Example


@dataclass(frozen=True)
class Saturation:
    """`cost_cpu_s`: CPU-seconds for 1,000 requests."""

    latency: Latency
    throughput_per_s: float
    cost_cpu_s: float


class Saturated:
    """A `predict` that times each request. `cpu_s` gives the CPU-seconds of the engine's processes so far."""

    def __init__(self, predict: Predict, cpu_s: Callable[[], float]) -> None:
        self.predict, self.cpu_s = predict, cpu_s
        self.seconds: list[float] = []
        self.began: tuple[float, float] | None = None

    async def __call__(self, example: Example) -> str:
        if self.began is None:
            self.began = self.cpu_s(), time.perf_counter()
        began = time.perf_counter()
        answer = await self.predict(example)
        self.seconds.append(time.perf_counter() - began)
        return answer

    def end(self) -> Saturation:
        """Call it when all requests are answered. Raises ValueError where nothing was asked."""
        now = time.perf_counter()
        if self.began is None:
            raise ValueError("nothing was asked")
        count, (cpu_s, began) = len(self.seconds), self.began
        return Saturation(latency_of(self.seconds), count / (now - began), 1000 * (self.cpu_s() - cpu_s) / count)


def latency_of(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile, in seconds. Raises ValueError where there are no latencies."""
    if not seconds:
        raise ValueError("no latencies")
    cuts = statistics.quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else list(seconds) * 19
    return Latency(p50=statistics.median(seconds), p95=cuts[18])
