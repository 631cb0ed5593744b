"""What the ingress counted of each variant: requests, failures, tokens and latency, lately or since its start.

The counters only grow. So a figure of the last minutes is the difference of two readings. Readings are taken when
somebody looks at the fleet, and are shared by all who look.
"""

import time
from collections import deque
from dataclasses import dataclass, field

from serve import metrics
from serve.config.lineage import VariantRef
from serve.errors import STATUS, Overloaded

LEAST_S = 30.0
"""Over a shorter time a rate says little; then figures are since the start."""
WINDOW_S = 300.0
GAP_S = 10.0
"""The least time between two readings that are kept."""
Buckets = dict[float, float]
"""Requests by the upper end of their bucket in seconds, those of smaller buckets included."""


@dataclass
class Counts:
    """What was counted of one variant."""

    requests: float = 0
    failed: float = 0
    tokens: float = 0
    latency: Buckets = field(default_factory=dict)
    first_token: Buckets = field(default_factory=dict)

    def since(self, before: "Counts") -> "Counts":
        """What came after an earlier reading."""
        return Counts(
            self.requests - before.requests,
            self.failed - before.failed,
            self.tokens - before.tokens,
            {end: count - before.latency.get(end, 0) for end, count in self.latency.items()},
            {end: count - before.first_token.get(end, 0) for end, count in self.first_token.items()},
        )


Reading = dict[VariantRef, Counts]


@dataclass(frozen=True)
class Lately:
    """Counts of the last `seconds`. `is_whole`: they are those since the start."""

    counts: Reading
    seconds: float
    is_whole: bool

    def of(self, ref: VariantRef) -> Counts:
        return self.counts.get(ref, Counts())


class Readings:
    """The latest readings, oldest first, each with its time in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.kept: deque[tuple[float, Reading]] = deque()

    def take(self) -> Lately:
        """Read the counters now. Reads files, so call it in a thread."""
        return self.compare(read(), time.monotonic())

    def compare(self, reading: Reading, now: float) -> Lately:
        while len(self.kept) > 1 and self.kept[1][0] <= now - WINDOW_S:
            self.kept.popleft()
        if not self.kept or self.kept[-1][0] <= now - GAP_S:
            self.kept.append((now, reading))
        at, before = self.kept[0]
        if now - at < LEAST_S:
            return Lately(reading, now - self.began, True)
        lately = {ref: counts.since(before.get(ref, Counts())) for ref, counts in reading.items()}
        return Lately(lately, now - at, False)


def read() -> Reading:
    """The counters of all ingress processes of the node, by variant."""
    reading: Reading = {}
    for metric in metrics.collector().collect():
        for sample in metric.samples:
            labels = sample.labels
            if sample.name not in NOTED or "variant" not in labels:
                continue
            counts = reading.setdefault((labels["model"], labels["variant"]), Counts())
            NOTED[sample.name](counts, labels, sample.value)
    return reading


def note_request(counts: Counts, labels: dict[str, str], value: float) -> None:
    """Failures are those of the alert UnderstudyErrorShare: of the server, or refused because the queue was full."""
    counts.requests += value
    if labels["status"].startswith("5") or labels["status"] == str(STATUS[Overloaded]):
        counts.failed += value


def note_tokens(counts: Counts, labels: dict[str, str], value: float) -> None:
    counts.tokens += value


def note_latency(counts: Counts, labels: dict[str, str], value: float) -> None:
    counts.latency[float(labels["le"])] = value


def note_first_token(counts: Counts, labels: dict[str, str], value: float) -> None:
    counts.first_token[float(labels["le"])] = value


NOTED = {
    "understudy_requests_total": note_request,
    "understudy_output_tokens_total": note_tokens,
    "understudy_request_seconds_bucket": note_latency,
    "understudy_time_to_first_token_seconds_bucket": note_first_token,
}
