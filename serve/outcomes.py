"""What an ingress has seen of its requests and not yet told the conductor: who was assigned where for the first time,
what failed, what was late, which shadow pairs came of it.

Counted only for models with a rollout on its way or a shadow. A batch is numbered, and given again unchanged until the
conductor has it on disk, so nothing is lost while that is away and nothing is counted twice. Bounded: a conductor that
stays away for long costs the detail of the newest outcomes, which are left out whole and said to be.
"""

import hashlib
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Any

from serve.router import Assignment

Batch = dict[str, Any]
KNOWN_CLIENTS = 200_000
"""Clients an ingress remembers, to name each once; the conductor remembers all."""
CHOSEN_BY_THE_ROUTER = ("weight", "sticky")


@dataclass
class Assigned:
    anonymous: Counter[str] = field(default_factory=Counter)
    clients: dict[str, str] = field(default_factory=dict)


@dataclass
class Served:
    """What one artifact's clients got; `seconds` maps a second of the epoch to requests within the objective, and
    all."""

    requests: int = 0
    failed: int = 0
    seconds: dict[int, list[int]] = field(default_factory=dict)


@dataclass
class Shadowed:
    """Of one pair of artifacts: how many requests were chosen, what came of them. Lengths are characters of the
    request."""

    chosen: int = 0
    failed: int = 0
    dropped: list[int] = field(default_factory=list)
    pairs: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Seen:
    assigned: dict[int, Assigned] = field(default_factory=dict)
    served: dict[str, Served] = field(default_factory=dict)
    shadows: dict[str, Shadowed] = field(default_factory=dict)

    def take_batch(self, before: int) -> Batch:
        """What is complete: seconds before `before` with the rest; the others stay."""
        served = {}
        for digest, found in self.served.items():
            whole = [tuple(found.seconds.pop(second)) for second in sorted(found.seconds) if second < before]
            served[digest] = {"requests": found.requests, "failed": found.failed, "seconds": whole}
            found.requests = found.failed = 0
        batch = {
            "assigned": {str(version): vars(found) for version, found in self.assigned.items()},
            "served": {digest: counts for digest, counts in served.items() if counts["requests"] or counts["seconds"]},
            "shadows": {pair: vars(found) for pair, found in self.shadows.items()},
        }
        self.assigned, self.shadows = {}, {}
        return batch


class Outcomes:
    """One ingress' ledger of what is not told yet."""

    def __init__(self) -> None:
        self.seen: dict[str, Seen] = {}
        self.known: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.number = 0
        self.waiting: Batch | None = None

    def assigned(self, assignment: Assignment, client: str | None, version: int) -> None:
        """A request was placed under that version of its model's traffic."""
        if assignment.reason not in CHOSEN_BY_THE_ROUTER:
            return
        found = self.of(assignment.model).assigned.setdefault(version, Assigned())
        if client is None:
            found.anonymous[assignment.variant] += 1
            return
        name = hashlib.blake2b(client.encode(errors="surrogatepass"), digest_size=8).hexdigest()
        if (assignment.model, name) not in self.known:
            self.known[assignment.model, name] = None
            if len(self.known) > KNOWN_CLIENTS:
                self.known.popitem(last=False)
            found.clients[name] = assignment.variant

    def served(self, model: str, digest: str, failed: bool, within: bool | None) -> None:
        """A request was answered, or failed; `within` the latency objective, None where there is none."""
        found = self.of(model).served.setdefault(digest, Served())
        found.requests += 1
        found.failed += failed
        if within is not None:
            second = found.seconds.setdefault(int(time.time()), [0, 0])
            second[0] += within
            second[1] += 1

    def shadowed(self, model: str, pair: str) -> Shadowed:
        return self.of(model).shadows.setdefault(pair, Shadowed())

    def of(self, model: str) -> Seen:
        return self.seen.setdefault(model, Seen())

    def batch(self) -> Batch | None:
        """What is to be told next: the one that is not on disk yet, again, or what has been seen since."""
        if self.waiting is None:
            models = {model: seen.take_batch(int(time.time())) for model, seen in self.seen.items()}
            models = {model: found for model, found in models.items() if any(found.values())}
            if models:
                self.number += 1
                self.waiting = {"number": self.number, "models": models}
        return self.waiting

    def told(self) -> None:
        """The conductor has the last batch on disk."""
        self.waiting = None
