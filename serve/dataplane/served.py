"""Results of one artifact's requests in one ingress, as outcomes that stand for themselves.

Requests that fail or are slow together share a cause. So failures are counted by second, as a mean over clients, and
latencies by blocks of a minute or more. A burst, or one client with many requests, is one outcome then. Seconds and
blocks are of the wall clock, so that two arms can be compared in the same minutes. Each names the version of the
traffic under which its requests were assigned.
"""

import math
from array import array
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from serve.config.snapshot import Judged

MOST = 50_000
"""Limit of unreported seconds, and of blocks. During a long outage of the controller, the oldest are dropped."""
DIGITS = 3
Client = tuple[str | None, str | None]
"""The name of an API key and the client's name in it; None for what a request has not."""
NAMELESS: Client = (None, None)


class Result(NamedTuple):
    """One request. `took_s` is None where its latency does not count. `left`: its client left before the end."""

    version: int
    client: Client
    failed: bool
    took_s: float | None
    left: bool = False


@dataclass
class Second:
    """Requests and failures of one second, by client. Each request without a name is a client of its own."""

    named: dict[Client, list[int]] = field(default_factory=dict)
    nameless: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, client: Client, failed: bool) -> None:
        counts = self.nameless if client == NAMELESS else self.named.setdefault(client, [0, 0])
        counts[0] += 1
        counts[1] += failed

    def summary(self) -> tuple[int, float]:
        """The number of requests, and the mean over clients of the share that failed."""
        requests = self.nameless[0] + sum(count for count, _ in self.named.values())
        failed = self.nameless[1] + sum(failed / count for count, failed in self.named.values())
        return requests, round(failed / (self.nameless[0] + len(self.named)), 4)


@dataclass
class Block:
    """Latencies of one block: all requests, those within the objective, and the seconds of the answered ones."""

    requests: int = 0
    within: int = 0
    answered_s: "array[float]" = field(default_factory=lambda: array("d"))

    def add(self, took_s: float, objective_s: float | None, answered: bool) -> None:
        self.requests += 1
        self.within += answered and objective_s is not None and took_s <= objective_s
        if answered:
            self.answered_s.append(took_s)

    def summary(self) -> tuple[int, int, float | None, float | None]:
        """Requests, those within, and the 50th and 95th percentile in seconds; None where none was answered."""
        return self.requests, self.within, *percentiles(self.answered_s)


def percentiles(seconds: Sequence[float]) -> tuple[float | None, float | None]:
    """The nearest ranks of 50 and 95 %, with three significant digits."""
    if not seconds:
        return None, None
    ranked = sorted(seconds)
    middle, high = (ranked[math.ceil(share * len(ranked)) - 1] for share in (0.5, 0.95))
    return float(f"{middle:.{DIGITS}g}"), float(f"{high:.{DIGITS}g}")


class Span(NamedTuple):
    """A block's key: the traffic's version, the objective, the length in seconds, and the number since the epoch."""

    version: int
    objective_s: float | None
    block_s: float
    number: int


@dataclass
class Served:
    """Results that were not reported yet. `left` counts requests whose client left before the end, `failed_at_both`
    those that the other arm failed to answer as well. Seconds and blocks that are over are kept as their summaries.
    `held` has seconds with failures about which the other arm is still asked: they stay open, so that a burst remains
    one outcome."""

    requests: int = 0
    failed: int = 0
    left: int = 0
    failed_at_both: int = 0
    seconds: dict[tuple[int, int], Second] = field(default_factory=dict)
    blocks: dict[Span, Block] = field(default_factory=dict)
    held: Counter[tuple[int, int]] = field(default_factory=Counter)
    past_seconds: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=MOST))
    past_blocks: deque[list[Any]] = field(default_factory=lambda: deque(maxlen=MOST))

    def hold(self, version: int, at: float) -> None:
        """Keep the second of `at` open until as many times `release` was called for it."""
        self.held[version, int(at)] += 1

    def release(self, version: int, at: float) -> None:
        self.held -= Counter({(version, int(at)): 1})

    def count(self, result: Result, judged: Judged, now: float, at: float | None = None) -> None:
        """Count a result at `now`, in seconds of the epoch; a failure about which the other arm was asked happened `at`
        an earlier time.

        A request whose client left is no failure. It has no latency, but it was late if the objective had passed."""
        self.close(now)
        objective_s = judged.objective_s
        if result.left:
            self.left += 1
        else:
            self.requests += 1
            self.failed += result.failed
            second = result.version, int(now if at is None else at)
            self.seconds.setdefault(second, Second()).add(result.client, result.failed)
        late = objective_s is not None and result.took_s is not None and result.took_s > objective_s
        if result.took_s is not None and (late or not result.left):
            span = Span(result.version, objective_s, judged.block_s, int(now // judged.block_s))
            answered = not (result.failed or result.left)
            self.blocks.setdefault(span, Block()).add(result.took_s, objective_s, answered)

    def close(self, now: float) -> None:
        """Sum up what is over."""
        for key in [key for key in self.seconds if key[1] < int(now) and not self.held[key]]:
            self.past_seconds.append([*key, *self.seconds.pop(key).summary()])
        for span in [span for span in self.blocks if (span.number + 1) * span.block_s <= now]:
            self.past_blocks.append([span.version, span.objective_s, span.number, *self.blocks.pop(span).summary()])

    def take_batch(self, now: float) -> dict[str, Any]:
        """Remove and return what is over, and all counts."""
        self.close(now)
        batch = {
            "requests": self.requests,
            "failed": self.failed,
            "left": self.left,
            "failed_at_both": self.failed_at_both,
            "seconds": list(self.past_seconds),
            "minutes": list(self.past_blocks),
        }
        self.requests = self.failed = self.left = self.failed_at_both = 0
        self.past_seconds.clear()
        self.past_blocks.clear()
        return batch
