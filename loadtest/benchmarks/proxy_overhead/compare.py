"""Sends bursts of streaming clients to the engine's own HTTP server and to the whole server in turn.

A token costs the engine the same in both cases. Only the CPU time for each streamed chunk between engine and client
differs. So the engine runs alone on core 0, and everything else shares core 1: the engine's HTTP server, router, Ray,
HAProxy, and the clients. A server that needs more CPU time delivers less as soon as core 1 is full.

A burst is repeated if other processes used the machine meanwhile. It needs Linux and at least two cores.
"""

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import psutil

from loadtest.benchmarks.proxy_overhead.clients import Burst, burst
from loadtest.benchmarks.proxy_overhead.processes import busy_s, cpu_s, is_engine, pin

ENGINE_CORE, OTHER_CORE = 0, 1
LEVELS = {1: 6, 8: 6, 32: 5}
"""The number of clients, and of requests that each of them sends in a burst."""
TOKENS = 32
SETTLE_S = 2.0
QUIET_CORES = 0.08
TRIES = 5


@dataclass(frozen=True)
class Way:
    """A server to measure: its name in the table, its port, the model to ask for, and headers of each request."""

    name: str
    port: int
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Measured:
    """One burst. `front_cpu_s` is the CPU time of the server without the engine. `foreign_cores` is the mean number of
    cores that other processes kept busy."""

    way: str
    round: int
    burst: Burst
    front_cpu_s: float
    foreign_cores: float

    @property
    def front_ms_per_token(self) -> float:
        return 1000 * self.front_cpu_s / self.burst.tokens


@dataclass
class Comparison:
    """Measures `ways` to ask the server whose first process is `server`. The others are compared with the first way."""

    server: int
    ways: list[Way]
    results: list[Measured] = field(default_factory=list)

    def run(self, rounds: int) -> None:
        """Measure every way at every number of clients. The order of the ways rotates from round to round."""
        for number in range(rounds):
            for clients in LEVELS:
                shift = number % len(self.ways)
                for way in self.ways[shift:] + self.ways[:shift]:
                    self.measure_undisturbed(way, clients, number)

    def measure_undisturbed(self, way: Way, clients: int, number: int) -> None:
        """Measure until no other process uses the machine, at most TRIES times, and keep the least disturbed burst."""
        tries: list[Measured] = []
        while len(tries) < TRIES and all(one.foreign_cores > QUIET_CORES for one in tries):
            tries.append(self.measure(way, clients, number))
            seen = tries[-1].burst
            line = f"round {number} {way.name:>12} {clients:>2} clients {seen.tokens_per_s:7.1f} tok/s"
            line += f"  first token {seen.ttft_s * 1000:6.1f} ms  foreign {tries[-1].foreign_cores:.2f} cores"
            print(line, file=sys.stderr, flush=True)
        self.results.append(min(tries, key=lambda one: one.foreign_cores))

    def measure(self, way: Way, clients: int, number: int) -> Measured:
        """Measure one burst after a warm-up. Prompts are the same for every way, as longer ones take more prefill."""
        root = psutil.Process(self.server)
        family = [root, *root.children(recursive=True)]
        engine = [process for process in family if is_engine(process)]
        others = [process for process in family if process not in engine]
        pin(engine, ENGINE_CORE)
        pin(others, OTHER_CORE)
        time.sleep(SETTLE_S)
        salt = f"{number:02}-{clients:02}"
        asyncio.run(burst(way.port, way.model, clients, 1, TOKENS, f"warm-{salt}", way.headers))
        every = [*engine, *others, psutil.Process()]
        ours, front, busy = cpu_s(every), cpu_s(others), busy_s()
        seen = asyncio.run(burst(way.port, way.model, clients, LEVELS[clients], TOKENS, salt, way.headers))
        foreign = busy_s() - busy - (cpu_s(every) - ours)
        return Measured(way.name, number, seen, cpu_s(others) - front, foreign / seen.wall_s)

    def summary(self) -> list[dict[str, Any]]:
        """One row for each way and number of clients. Ratios are to the first way in the same round."""
        rows = []
        for clients in LEVELS:
            at = {(one.way, one.round): one for one in self.results if one.burst.clients == clients}
            for way in self.ways:
                own = [one for (name, _), one in at.items() if name == way.name]
                pairs = [(one.burst, at[self.ways[0].name, one.round].burst) for one in own]
                rows.append(
                    {
                        "way": way.name,
                        "clients": clients,
                        "tokens_per_s": spread([one.burst.tokens_per_s for one in own]),
                        "tokens_ratio": spread([this.tokens_per_s / bare.tokens_per_s for this, bare in pairs]),
                        "ttft_s": spread([one.burst.ttft_s for one in own]),
                        "ttft_ratio": spread([this.ttft_s / bare.ttft_s for this, bare in pairs]),
                        "front_cpu_ms_per_token": spread([one.front_ms_per_token for one in own]),
                        "foreign_cores": spread([one.foreign_cores for one in own]),
                    }
                )
        return rows


def spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "low": min(values), "high": max(values)}
