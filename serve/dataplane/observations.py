"""Observations of an ingress that the controller has not stored yet: first assignments of clients, failures, late
answers and shadow pairs.

They exist only for models with an active rollout or a shadow. Batches are numbered. The ingress repeats a batch
unchanged until the controller has written it to disk, so none is lost or counted twice. During a long outage of the
controller, new pairs are dropped except for their length, and new clients are not recorded.
"""

import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from serve.control.contract import RULES, ObservationBatch
from serve.dataplane.router import Assignment

KNOWN_CLIENTS = 200_000
"""Clients that an ingress remembers, to report each once; the controller remembers all."""
MOST = 50_000
"""Limit of unreported pairs for two artifacts, and of unreported clients for one version."""
CHOSEN_BY_THE_ROUTER = ("weight", "sticky")
"""Reasons of assignments that follow the weights. `capable` is none: there the request has excluded variants."""


@dataclass
class Assigned:
    anonymous: Counter[str] = field(default_factory=Counter)
    clients: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """Results of one artifact's requests. `seconds` maps (objective in s, second of the monotonic clock) to the number
    of requests within the objective and of all requests."""

    requests: int = 0
    failed: int = 0
    seconds: dict[tuple[float, int], list[int]] = field(default_factory=dict)


@dataclass
class Shadowed:
    """Counts of one pair of artifacts: sampled requests (`chosen`) and their results. `dropped` and `unjudged` hold
    request lengths in bytes. A pair states whether the variant was `asked`, and whether that `failed`; its `metric` is
    None where there is no score."""

    chosen: int = 0
    dropped: list[int] = field(default_factory=list)
    unjudged: list[int] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.pairs) >= MOST


@dataclass
class Routed:
    """Requests that named no variant, and how many of them each artifact (by digest) could not answer."""

    requests: int = 0
    unable: Counter[str] = field(default_factory=Counter)


@dataclass
class Seen:
    routed: Routed = field(default_factory=Routed)
    assigned: dict[int, Assigned] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    shadows: dict[str, Shadowed] = field(default_factory=dict)

    def take_batch(self, before: int) -> ObservationBatch:
        """Remove and return the complete observations. Seconds from `before` on stay for the next batch."""
        served = {}
        for digest, results in self.served.items():
            over = sorted(key for key in results.seconds if key[1] < before)
            whole = [(key[0], *results.seconds.pop(key)) for key in over]
            served[digest] = {"requests": results.requests, "failed": results.failed, "seconds": whole}
            results.requests = results.failed = 0
        batch = {
            "assigned": {str(version): vars(assigned) for version, assigned in self.assigned.items()},
            "served": {digest: counts for digest, counts in served.items() if counts["requests"] or counts["seconds"]},
            "shadows": {pair: vars(shadowed) for pair, shadowed in self.shadows.items()},
        }
        if self.routed.requests:
            batch["routed"] = vars(self.routed)
        self.routed, self.assigned, self.shadows = Routed(), {}, {}
        return batch


class Observations:
    """The observations of one ingress that the controller has not stored yet."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.number = 0
        self.waiting: ObservationBatch | None = None

    def routed(self, model: str, unable: Iterable[str]) -> None:
        """Count a request that names no variant; `unable` has the digests of the artifacts that cannot answer it."""
        routed = self.of(model).routed
        routed.requests += 1
        routed.unable.update(unable)

    def assigned(self, assignment: Assignment, client: str | None, version: int) -> None:
        """Count a request that was assigned under this version of its model's traffic."""
        if assignment.reason not in CHOSEN_BY_THE_ROUTER:
            return
        assigned = self.of(assignment.model).assigned.setdefault(version, Assigned())
        if client is None:
            assigned.anonymous[assignment.variant] += 1
            return
        name = hashlib.blake2b(client.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        if (assignment.model, name) not in self.known and len(assigned.clients) < MOST:
            self.known[assignment.model, name] = None
            if len(self.known) > KNOWN_CLIENTS:
                self.known.popitem(last=False)
            assigned.clients[name] = assignment.variant

    def served(self, model: str, digest: str, failed: bool, took_s: float, objective_s: float | None) -> None:
        """Count an answered or failed request; its latency counts where there is an objective."""
        results = self.of(model).served.setdefault(digest, Served())
        results.requests += 1
        results.failed += failed
        self.timed(results, not failed and objective_s is not None and took_s <= objective_s, objective_s)

    def late(self, model: str, digest: str, objective_s: float) -> None:
        """Count a request whose client left after the latency objective; it counts only as late."""
        self.timed(self.of(model).served.setdefault(digest, Served()), False, objective_s)

    @staticmethod
    def timed(results: Served, within: bool, objective_s: float | None) -> None:
        if objective_s is not None:
            second = results.seconds.setdefault((objective_s, int(time.monotonic())), [0, 0])
            second[0] += within
            second[1] += 1

    def shadowed(self, model: str, pair: str) -> Shadowed:
        return self.of(model).shadows.setdefault(pair, Shadowed())

    def of(self, model: str) -> Seen:
        return self.seen.setdefault(model, Seen())

    def batch(self) -> ObservationBatch | None:
        """The next batch to send: the previous one until it is acknowledged, otherwise a new one."""
        if self.waiting is None:
            models = {model: seen.take_batch(int(time.monotonic())) for model, seen in self.seen.items()}
            models = {model: counts for model, counts in models.items() if any(counts.values())}
            if models:
                self.number += 1
                self.waiting = {"number": self.number, "rules": RULES, "models": models}
        return self.waiting

    def acknowledge(self) -> None:
        """The controller has written the last batch to disk."""
        self.waiting = None
