"""What it costs an ingress to record a request, in CPU time: `make bench-record`, some seconds.

A request's counts for `/metrics` are recorded in the files that several ingresses share. Its text is kept where the
stack file has `keep_requests`, in batches of a second, as the server writes them. CPU time of the whole process, the
writing thread included, is divided by the number of requests. Ends with one JSON document in `out/recording`.
"""

import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from variants.files import write_atomic
from variants.machine import describe, versions

if TYPE_CHECKING:
    from serve.dataplane.upstreams import Upstreams

REQUESTS, A_BATCH, ROUNDS = 10_000, 200, 5
OUT = Path("out/recording/recording.json")


class Cost(NamedTuple):
    """Microseconds of CPU time a request: the median of the rounds, and their range."""

    median: float
    least: float
    most: float


def cost_of(record: Callable[[], None], requests: int, rounds: int) -> Cost:
    """`record` records so many requests."""
    costs = []
    for _ in range(rounds):
        began = time.process_time()
        record()
        costs.append((time.process_time() - began) / requests * 1e6)
    costs.sort()
    return Cost(costs[len(costs) // 2], costs[0], costs[-1])


def count(requests: int) -> None:
    """As `serve.api.http` and `serve.api.openai` count a streamed answer."""
    from serve import metrics

    labels = ("m", "int8")
    for number in range(requests):
        metrics.prompt_tokens.labels(*labels).inc(100)
        metrics.output_tokens.labels(*labels).inc(50)
        metrics.first_token.labels(*labels).observe(number / requests)
        metrics.per_token.labels(*labels).observe(0.02)
        metrics.requests.labels(*labels, "weight", "200").inc()
        metrics.latency.labels(*labels).observe(number / requests)


def keep(requests: int) -> None:
    """Texts of 400 characters, a batch for each second at 200 requests a second."""
    from serve.api.operation.kept_requests import KeptRequests
    from serve.config.keep_requests import KeepRequests
    from serve.shadow.sampling import Asked

    limits = SimpleNamespace(keep_requests=KeepRequests(most=REQUESTS, days=30))
    kept = KeptRequests(cast("Upstreams", SimpleNamespace(models={"m": limits}, known_tasks=frozenset())))
    call: Any = SimpleNamespace(target=SimpleNamespace(model="m", variant=None), status=200)
    document = {"model": "m", "prompt": "four " * 80}
    body = json.dumps(document).encode()

    async def run() -> None:
        for number in range(requests):
            kept.offer(call, Asked("/v1/completions", body, None, document))
            if number % A_BATCH == A_BATCH - 1:
                await kept.stop()  # writes what waits

    asyncio.run(run())


def measure(requests: int, rounds: int) -> dict[str, Cost]:
    """Needs a home folder and a folder for the metrics' files: `main` makes both."""
    return {
        "counting": cost_of(lambda: count(requests), requests, rounds),
        "keeping": cost_of(lambda: keep(requests), requests, rounds),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="understudy-recording-") as folder:
        # prometheus-client reads this when it is imported, which the functions above do.
        os.environ |= {"PROMETHEUS_MULTIPROC_DIR": folder, "UNDERSTUDY_HOME": folder}
        costs = measure(REQUESTS, ROUNDS)
    for name, cost in costs.items():
        print(f"{name}: {cost.median:.1f} microseconds of CPU a request ({cost.least:.1f} to {cost.most:.1f})")
    document = {
        "schema": 1, "requests": REQUESTS, "rounds": ROUNDS, **{name: cost._asdict() for name, cost in costs.items()},
        "machine": describe().model_dump(mode="json"), "versions": versions(),
    }  # fmt: skip
    write_atomic(OUT, (json.dumps(document, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
