"""Tests after every assignment whether clients are assigned in the shares that the weights give.

An experiment whose groups are not filled as planned is invalid, whatever its outcomes (A. Fabijan et al. 2019,
"Diagnosing sample ratio mismatch in online controlled experiments", KDD). M. Lindon and A. Malek 2022, "Anytime-valid
inference for multinomial count data", NeurIPS, test it after every assignment, for one constant vector of shares.

Here weights change during the test. So the test learns how much more than its due each variant gets. It bets on the
next assignment with the current weights, each times (seen so far + PRIOR) / (due so far + PRIOR). The bet is fixed
before the assignment is seen. So wealth is a martingale under the null, and ever exceeds 1/alpha with probability at
most alpha.

    null    each distinct client's first assignment falls on a variant with its weight's share
    breaks  counting a client again after its first assignment; assignments that were pinned or fell back, which the
            router did not choose

Where the test is broken, `Departures` says who departs most from the expected share: which client, which reason of the
assignment, which hour. Each is ranked by G = 2 sum of seen x ln(seen / due), the likelihood ratio of its own counts. It
is a description and no test. Clients are bounded as in A. Metwally et al. 2005, "Efficient computation of frequent and
top-k elements in data streams", ICDT: every client with more than 1/`MOST_CLIENTS` of all assignments is among them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf, log
from typing import NamedTuple

ALPHA = 0.001
PRIOR = 30.0
"""Pseudo-assignments to each variant at the start. A smaller value detects large faults a little earlier. A larger
value detects small faults earlier."""
MOST_CLIENTS = 200
MOST_HOURS = 48
LEAST_DUE = 0.001
"""Stands for a share of 0, so that an assignment without any weight departs far and not infinitely far."""
NAMED = "*"
"""The named clients of a key that stay with their variant. Each counts once, so none departs alone."""

OTHERS = "others"
"""Clients of a key beyond those that one ingress tells apart at once."""


class Source(NamedTuple):
    """Where assignments came from. `key` is the name of an API key, `client` a hash of the client's name, `NAMED`,
    `OTHERS`, or empty where the request has none. `hour` is in hours of the epoch."""

    key: str
    client: str
    reason: str
    hour: int


@dataclass
class Group:
    """The assignments of one client, reason or hour. `before` counts those of the client whose place it took."""

    seen: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    before: int = 0

    def add(self, assigned: Mapping[str, int], shares: Mapping[str, float]) -> None:
        n = sum(assigned.values())
        for variant, times in assigned.items():
            self.seen[variant] = self.seen.get(variant, 0) + times
        for variant, share in shares.items():
            self.due[variant] = self.due.get(variant, 0.0) + n * share

    @property
    def rank(self) -> int:
        return self.before + sum(self.seen.values())

    @property
    def departure(self) -> float:
        """G, which is at least 0 but for rounding."""
        return 2 * sum(
            times * log(times / max(self.due.get(name, 0.0), LEAST_DUE)) for name, times in self.seen.items() if times
        )


@dataclass
class Departures:
    """Assignments by client (a key and a client of it), by reason, and by hour of the epoch, in bounded memory."""

    clients: dict[tuple[str, str], Group] = field(default_factory=dict)
    reasons: dict[str, Group] = field(default_factory=dict)
    hours: dict[int, Group] = field(default_factory=dict)

    def add(self, source: Source, assigned: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """Count the assignments of one source under one set of weights."""
        shares = shares_of(weights)
        self.client(source.key, source.client).add(assigned, shares)
        self.reasons.setdefault(source.reason, Group()).add(assigned, shares)
        self.hours.setdefault(source.hour, Group()).add(assigned, shares)
        if len(self.hours) > MOST_HOURS:
            del self.hours[min(self.hours)]

    def client(self, key: str, client: str) -> Group:
        """The group of a client. Where there is no room, it takes the place of the smallest."""
        if (key, client) not in self.clients:
            before = 0
            if len(self.clients) >= MOST_CLIENTS:
                least = min(self.clients, key=lambda each: self.clients[each].rank)
                before = self.clients.pop(least).rank
            self.clients[key, client] = Group(before=before)
        return self.clients[key, client]

    def worst(self) -> "Worst | None":
        """What departs most; None without assignments."""
        if not self.clients:
            return None
        client, reason, hour = (
            max(groups.items(), key=lambda each: each[1].departure)
            for groups in (self.clients, self.reasons, self.hours)
        )
        return Worst(client, reason, hour)  # type: ignore[arg-type]


class Worst(NamedTuple):
    """The client, the reason and the hour that depart most from the expected share, each with its assignments."""

    client: tuple[tuple[str, str], Group]
    reason: tuple[str, Group]
    hour: tuple[int, Group]

    def to_json(self) -> dict[str, object]:
        """`hour` is when it began, in UTC. `key` and `name` are None where requests have none. `text` says it all."""
        (key, name), of_client = self.client
        return {
            "client": {"key": key or None, "name": name or None, **counts_of(of_client)},
            "reason": {"reason": self.reason[0], **counts_of(self.reason[1])},
            "hour": {"hour": began(self.hour[0]), **counts_of(self.hour[1])},
            "text": self.describe(),
        }

    def describe(self) -> str:
        """One sentence."""
        (key, name), of_client = self.client
        who = {NAMED: "its named clients", OTHERS: "its other clients", "": "without a name"}.get(
            name, f"the client {name}"
        )
        return (
            f"most of all {f'the key {key}' if key else 'no key'}, {who} ({text_of(of_client)}), "
            f"the reason {self.reason[0]} ({text_of(self.reason[1])}), "
            f"the hour from {began(self.hour[0])} ({text_of(self.hour[1])})"
        )


def counts_of(group: Group) -> dict[str, object]:
    return {"seen": group.seen, "due": {name: round(due, 1) for name, due in group.due.items()}}


def text_of(group: Group) -> str:
    """`int8 30 of 50 due`, by variant."""
    names = sorted({**group.seen, **group.due})
    return ", ".join(f"{name} {group.seen.get(name, 0)} of {group.due.get(name, 0.0):.0f} due" for name in names)


def began(hour: int) -> str:
    """When an hour of the epoch began, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H:%M UTC")


def shares_of(weights: Mapping[str, float]) -> dict[str, float]:
    """The shares of all weights above 0. ValueError unless there is one."""
    total = sum(weights.values())
    if total <= 0:
        raise ValueError("no weight above 0")
    return {variant: weight / total for variant, weight in weights.items() if weight > 0}


@dataclass
class SampleRatio:
    """First assignments by variant (`seen`), those that the weights predict (`due`), the log wealth, and where the
    assignments came from (`departures`)."""

    seen: dict[str, int] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    log_wealth: float = 0.0
    peak: float = 0.0
    departures: Departures = field(default_factory=Departures)

    def add(self, assigned: Mapping[str, int], weights: Mapping[str, float]) -> None:
        """Count the assignments made under one set of weights. ValueError unless a weight is above 0."""
        shares = shares_of(weights)
        ratio = {v: (self.seen.get(v, 0) + PRIOR) / (self.due.get(v, 0.0) + PRIOR) for v in shares}
        whole = sum(share * ratio[variant] for variant, share in shares.items())
        for variant, times in assigned.items():
            if times:
                self.log_wealth += times * log(ratio[variant] / whole) if variant in shares else inf
                self.seen[variant] = self.seen.get(variant, 0) + times
        n = sum(assigned.values())
        for variant, share in shares.items():
            self.due[variant] = self.due.get(variant, 0.0) + n * share
        self.peak = max(self.peak, self.log_wealth)

    @property
    def n(self) -> int:
        return sum(self.seen.values())

    def is_broken(self) -> bool:
        """Whether it is proven, or was at any earlier time, that assignments do not follow the weights."""
        return self.peak >= log(1 / ALPHA)

    def departs(self) -> Worst | None:
        """Who departs most from the weights, where the test is broken; None where it is not or nobody is known."""
        return self.departures.worst() if self.is_broken() else None
