"""The arrival times of the open loop: a Poisson process that is planned before the first request.

An open loop does not wait for answers. The latency of a request counts from its planned time. So a slow server has
higher latencies, and does not get less load (coordinated omission).
"""

import random


def poisson(per_s: float, seconds: float, generator: random.Random) -> list[float]:
    """Ascending arrival times in [0, seconds). Gaps are exponential with mean 1 / `per_s`.

    There are at most ten times the mean number plus a hundred, which chance does not reach.
    """
    most = int(10 * per_s * seconds) + 100
    times: list[float] = []
    at = generator.expovariate(per_s)
    while at < seconds and len(times) < most:
        times.append(at)
        at += generator.expovariate(per_s)
    return times
