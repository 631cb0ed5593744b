"""When requests arrive in the open loop: a Poisson process, planned before the first is sent.

An open loop does not wait for answers. Each request has its time beforehand, and its latency counts from
that time, so a slow server shows in the latencies instead of thinning out the load (coordinated omission).
"""

import random


def poisson(per_s: float, seconds: float, generator: random.Random) -> list[float]:
    """Arrival times in [0, seconds), ascending: gaps are exponential with mean 1 / `per_s`. Bounded in count.

    The count is capped at ten times its mean plus a hundred, which chance does not reach.
    """
    most = int(10 * per_s * seconds) + 100
    times: list[float] = []
    at = generator.expovariate(per_s)
    while at < seconds and len(times) < most:
        times.append(at)
        at += generator.expovariate(per_s)
    return times
