"""What an engine does with many requests at once: their latency, how many a second, and what they cost.

Cost is CPU time of the engine's own processes and nothing of whoever asks, so it says what a request costs on a machine
that is shared, where requests a second would depend on the neighbours.
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
    """`cost_cpu_s` are CPU-seconds for 1,000 requests."""

    latency: Latency
    throughput_per_s: float
    cost_cpu_s: float


class Saturated:
    """A `predict` that keeps the time of each request, from the first one's beginning to `end`."""

    def __init__(self, predict: Predict, cpu_s: Callable[[], float]) -> None:
        self.predict, self.cpu_s = predict, cpu_s
        self.seconds: list[float] = []
        self.began: tuple[float, float] | None = None
        self.ended: tuple[float, float] | None = None

    async def __call__(self, example: Example) -> str:
        if self.began is None:
            self.began = self.cpu_s(), time.perf_counter()
        asked = time.perf_counter()
        answer = await self.predict(example)
        self.seconds.append(time.perf_counter() - asked)
        return answer

    def end(self) -> None:
        """All requests are answered."""
        now = time.perf_counter()
        self.ended = self.cpu_s(), now

    def seen(self) -> Saturation:
        """ValueError where nothing was asked, or `end` was not called."""
        if self.began is None or self.ended is None:
            raise ValueError("nothing was asked, or it has not ended")
        count, wall = len(self.seconds), self.ended[1] - self.began[1]
        return Saturation(latency_of(self.seconds), count / wall, 1000 * (self.ended[0] - self.began[0]) / count)


def latency_of(seconds: Sequence[float]) -> Latency:
    """Median and 95th percentile, in seconds. ValueError where there are none."""
    if not seconds:
        raise ValueError("no latencies")
    cuts = statistics.quantiles(seconds, n=20, method="inclusive") if len(seconds) > 1 else list(seconds) * 19
    return Latency(p50=statistics.median(seconds), p95=cuts[18])
