"""What an ingress has seen of its requests and not yet told the controller: who was assigned where for the first time,
what failed, what was late, which shadow pairs came of it.

Counted only for models with a rollout on its way or a shadow. A batch is numbered, and given again unchanged until the
controller has it on disk, so nothing is lost while that is away and nothing is counted twice. While a controller stays
away for long, the newest pairs are dropped, of which only the length is kept, and clients are assigned unseen.
"""

import hashlib
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

from serve.control.contract import RULES, ObservationBatch
from serve.dataplane.router import Assignment

KNOWN_CLIENTS = 200_000
"""Clients an ingress remembers, to name each once; the controller remembers all."""
MOST = 50_000
"""Pairs of two artifacts, and clients of one version, that wait to be told."""
CHOSEN_BY_THE_ROUTER = ("weight", "sticky")


@dataclass
class Assigned:
    anonymous: Counter[str] = field(default_factory=Counter)
    clients: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """What one artifact's clients got; `seconds` maps an objective and a second, of a clock that does not jump,
    to the requests within the objective, and all."""

    requests: int = 0
    failed: int = 0
    seconds: dict[tuple[float, int], list[int]] = field(default_factory=dict)


@dataclass
class Shadowed:
    """Of one pair of artifacts: how many requests were chosen, what came of them. `dropped` and `unjudged` are lengths,
    bytes of the request. A pair says whether the variant was `asked` for it, and whether that `failed`; its `metric` is
    None where that is all there is to say."""

    chosen: int = 0
    dropped: list[int] = field(default_factory=list)
    unjudged: list[int] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self.pairs) >= MOST


@dataclass
class Seen:
    assigned: dict[int, Assigned] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    shadows: dict[str, Shadowed] = field(default_factory=dict)

    def take_batch(self, before: int) -> ObservationBatch:
        """What is complete: seconds before `before` with the rest; the others stay."""
        served = {}
        for digest, found in self.served.items():
            over = sorted(key for key in found.seconds if key[1] < before)
            whole = [(key[0], *found.seconds.pop(key)) for key in over]
            served[digest] = {"requests": found.requests, "failed": found.failed, "seconds": whole}
            found.requests = found.failed = 0
        batch = {
            "assigned": {str(version): vars(found) for version, found in self.assigned.items()},
            "served": {digest: counts for digest, counts in served.items() if counts["requests"] or counts["seconds"]},
            "shadows": {pair: vars(found) for pair, found in self.shadows.items()},
        }
        self.assigned, self.shadows = {}, {}
        return batch


class Observations:
    """One ingress' ledger of what is not told yet."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.number = 0
        self.waiting: ObservationBatch | None = None

    def assigned(self, assignment: Assignment, client: str | None, version: int) -> None:
        """A request was placed under that version of its model's traffic."""
        if assignment.reason not in CHOSEN_BY_THE_ROUTER:
            return
        found = self.of(assignment.model).assigned.setdefault(version, Assigned())
        if client is None:
            found.anonymous[assignment.variant] += 1
            return
        name = hashlib.blake2b(client.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        if (assignment.model, name) not in self.known and len(found.clients) < MOST:
            self.known[assignment.model, name] = None
            if len(self.known) > KNOWN_CLIENTS:
                self.known.popitem(last=False)
            found.clients[name] = assignment.variant

    def served(self, model: str, digest: str, failed: bool, took_s: float, objective_s: float | None) -> None:
        """A request was answered, or failed; its latency counts where there is an objective."""
        found = self.of(model).served.setdefault(digest, Served())
        found.requests += 1
        found.failed += failed
        self.timed(found, not failed and objective_s is not None and took_s <= objective_s, objective_s)

    def late(self, model: str, digest: str, objective_s: float) -> None:
        """A client went away after the latency objective: nothing is known but that."""
        self.timed(self.of(model).served.setdefault(digest, Served()), False, objective_s)

    @staticmethod
    def timed(found: Served, within: bool, objective_s: float | None) -> None:
        if objective_s is not None:
            second = found.seconds.setdefault((objective_s, int(time.monotonic())), [0, 0])
            second[0] += within
            second[1] += 1

    def shadowed(self, model: str, pair: str) -> Shadowed:
        return self.of(model).shadows.setdefault(pair, Shadowed())

    def of(self, model: str) -> Seen:
        return self.seen.setdefault(model, Seen())

    def batch(self) -> ObservationBatch | None:
        """What is to be told next: the one that is not on disk yet, again, or what has been seen since."""
        if self.waiting is None:
            models = {model: seen.take_batch(int(time.monotonic())) for model, seen in self.seen.items()}
            models = {model: found for model, found in models.items() if any(found.values())}
            if models:
                self.number += 1
                self.waiting = {"number": self.number, "rules": RULES, "models": models}
        return self.waiting

    def acknowledge(self) -> None:
        """The controller has the last batch on disk."""
        self.waiting = None
