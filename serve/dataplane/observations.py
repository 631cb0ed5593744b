"""Observations of an ingress that the controller has not stored yet: first assignments of clients, results of their
requests by second and by block (`serve.dataplane.served`), and shadow pairs.

They exist only for models with an active rollout or a shadow. Batches are numbered. The ingress repeats a batch
unchanged until the controller has written it to disk, so none is lost or counted twice. During a long outage of the
controller, new pairs are dropped except for their length, and new clients are not recorded.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from serve.config.snapshot import Judged
from serve.control.contract import RULES, ObservationBatch
from serve.dataplane.router import Assignment
from serve.dataplane.served import Result, Served
from variants.evidence.sample_ratio import NAMED, OTHERS, Source

KNOWN_CLIENTS = 200_000
"""Clients that an ingress remembers, to report each once; the controller remembers all."""
MOST = 50_000
"""Limit of unreported pairs for two artifacts, and of unreported clients for one version."""
MOST_SOURCES = 200
"""Senders of one batch that are told apart; the others of a key count together."""
HOUR_S = 3600
CHOSEN_BY_THE_ROUTER = ("weight", "sticky")
"""Reasons of assignments that follow the weights. `capable` is none: there the request has excluded variants."""


@dataclass
class Assigned:
    """Assignments under one version. `anonymous` counts requests by variant, `sources` does so by where they came from.
    `clients` has the variant of each named client, `named` where it came from."""

    anonymous: Counter[str] = field(default_factory=Counter)
    clients: dict[str, str] = field(default_factory=dict)
    sources: dict[Source, Counter[str]] = field(default_factory=dict)
    named: dict[str, Source] = field(default_factory=dict)

    def add(self, variant: str, source: Source) -> None:
        """Count a request of a client that does not stay with its variant."""
        self.anonymous[variant] += 1
        if source not in self.sources and len(self.sources) >= MOST_SOURCES:
            source = source._replace(client=OTHERS)
        self.sources.setdefault(source, Counter())[variant] += 1

    def to_json(self) -> dict[str, Any]:
        sources = [[*source, counts] for source, counts in self.sources.items()]
        named = {client: list(source) for client, source in self.named.items()}
        return {"anonymous": self.anonymous, "clients": self.clients, "sources": sources, "named": named}


@dataclass
class Shadowed:
    """Counts of one variant and its parent. `seen` are the requests that could have been sampled, `incomparable` those
    among them that cannot be compared, by reason. `chosen` are the sampled ones. Each of these is a pair, or its
    length in bytes is in `skipped` or `lost`: skipped by a decision that looked at neither request nor answers, or lost
    for a reason that may depend on them. `lost` is by the metric that the pair would have had, and by reason.
    `opinions` say of pairs whose answers differ which is better."""

    seen: int = 0
    incomparable: Counter[str] = field(default_factory=Counter)
    chosen: int = 0
    skipped: list[int] = field(default_factory=list)
    lost: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    pairs: list[dict[str, Any]] = field(default_factory=list)
    opinions: list[dict[str, Any]] = field(default_factory=list)

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

    def take_batch(self, now: float) -> ObservationBatch:
        """Remove and return the complete observations. Seconds and blocks that are not over at `now`, in seconds of the
        epoch, stay for the next batch."""
        served = {digest: results.take_batch(now) for digest, results in self.served.items()}
        batch = {
            "assigned": {str(version): assigned.to_json() for version, assigned in self.assigned.items()},
            "served": {digest: counts for digest, counts in served.items() if any(counts.values())},
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

    def assigned(
        self, assignment: Assignment, client: str | None, version: int, sender: tuple[str | None, str | None]
    ) -> None:
        """Count a request that was assigned under this version of its model's traffic. `client` is a hash. `sender` is
        the name of its API key and a hash of its client's name, also where the client does not stay with a variant."""
        if assignment.reason not in CHOSEN_BY_THE_ROUTER:
            return
        assigned = self.of(assignment.model).assigned.setdefault(version, Assigned())
        key, name = (each or "" for each in sender)
        source = Source(key, name if client is None else NAMED, assignment.reason, int(time.time()) // HOUR_S)
        if client is None:
            assigned.add(assignment.variant, source)
            return
        if (assignment.model, client) not in self.known and len(assigned.clients) < MOST:
            self.known[assignment.model, client] = None
            if len(self.known) > KNOWN_CLIENTS:
                self.known.popitem(last=False)
            assigned.clients[client], assigned.named[client] = assignment.variant, source

    def served(self, model: str, digest: str, result: Result, judged: Judged) -> None:
        """Count the result of a request to an artifact."""
        self.of_artifact(model, digest).count(result, judged, time.time())

    def asks(self, model: str, digest: str, result: Result, judged: Judged) -> Callable[[bool], None]:
        """The other arm is asked about a failure of this moment. Call what this gives once, with whether the failure is
        the artifact's own."""
        at = time.time()
        self.of_artifact(model, digest).hold(result.version, at)

        def answered(own: bool) -> None:
            served = self.of_artifact(model, digest)
            if own:
                served.count(result, judged, time.time(), at)
            else:
                served.failed_at_both += 1
            served.release(result.version, at)

        return answered

    def of_artifact(self, model: str, digest: str) -> Served:
        return self.of(model).served.setdefault(digest, Served())

    def shadowed(self, model: str, pair: str) -> Shadowed:
        return self.of(model).shadows.setdefault(pair, Shadowed())

    def of(self, model: str) -> Seen:
        return self.seen.setdefault(model, Seen())

    def batch(self) -> ObservationBatch | None:
        """The next batch to send: the previous one until it is acknowledged, otherwise a new one."""
        if self.waiting is None:
            models = {model: seen.take_batch(time.time()) for model, seen in self.seen.items()}
            models = {model: counts for model, counts in models.items() if any(counts.values())}
            if models:
                self.number += 1
                self.waiting = {"number": self.number, "rules": RULES, "models": models}
        return self.waiting

    def acknowledge(self) -> None:
        """The controller has written the last batch to disk."""
        self.waiting = None
