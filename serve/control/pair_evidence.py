"""What one rollout knows of a variant and its parent: the evidence for a gate, and the counts behind it."""

from collections import Counter
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from serve.control.opinion_counts import OpinionCounts
from serve.control.seen_set import SeenSet
from serve.protocols.uncounted import UNCOUNTED
from variants.evidence.betting import Tally
from variants.evidence.client_shares import ClientShares
from variants.evidence.gate import DIFFERENCES, RANGES, Evidence, Gate, Metric
from variants.evidence.guard import FEWEST, Arms, Guard, ParentRate

BESIDE_S = 60
SECOND = itemgetter(1)
NO_LIMIT = 0.5
"""Stands for a limit that the guard leaves out: its outcomes are counted, and nobody reads them."""
WATCHED = Gate()
"""The limits of a shadow variant without a rollout."""


@dataclass
class PairEvidence:
    """One pair of artifacts on two engines.

    - `ids` and `requests` tell what was counted before: the ids of requests, and requests with the same content.
    - `clients` bounds what one client brings to each metric. `named` has those of
      compared requests.
    - `parent_seconds` has the parent's share of failures in its latest seconds.
    - `latency` is by objective in seconds: a measurement against one objective is no evidence about another. `in_time`
      has requests within it, and all requests.
    - `seen` requests could have been sampled; `incomparable` and `lost` have numbers by reason.
    - `routed` requests named no variant, and `not_served` of them the variant could not answer.
    - `failed_at_both` requests of clients failed at both arms, and count for nothing.
    - `divergence` is the sum of the pairs' Kullback-Leibler divergences, in nats a position.
    - `opinions` has what was said of pairs whose answers differ.
    - `since` is the traffic version with which the present step began.
    """

    evidence: Evidence = field(default_factory=Evidence)
    ids: SeenSet = field(default_factory=SeenSet)
    requests: SeenSet = field(default_factory=SeenSet)
    clients: dict[str, ClientShares] = field(default_factory=dict)
    named: SeenSet = field(default_factory=SeenSet)
    parent_seconds: dict[int, float] = field(default_factory=dict)
    latency: dict[float, Tally] = field(default_factory=dict)
    in_time: dict[float, tuple[int, int]] = field(default_factory=dict)
    seen: int = 0
    incomparable: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    routed: int = 0
    not_served: int = 0
    failed_at_both: int = 0
    divergence: float = 0.0
    parent_rate: ParentRate = field(default_factory=ParentRate)
    opinions: OpinionCounts = field(default_factory=OpinionCounts)
    since: int = 0

    @property
    def compared(self) -> int:
        return self.evidence.quality.n + self.evidence.agreement.n

    def begin_step(self, version: int) -> None:
        """Forget what belongs to the step before: its clients, and the detectors of harm."""
        self.since, self.evidence.arms = version, Arms()
        for metric in DIFFERENCES:
            paired = self.evidence.paired(metric)
            paired.harm = type(paired.harm)()

    def latency_within(self, objective_s: float) -> Tally:
        """A tally of the share of requests within an objective, one value a block of time."""
        return self.latency.setdefault(objective_s, Tally(*RANGES["latency"]))

    def judged_by(self, gate: Gate) -> Evidence:
        """The evidence, with the latencies that were measured against the gate's objective."""
        if gate.latency:
            self.evidence.tallies["latency"] = self.latency_within(gate.latency.objective_s)
            self.evidence.in_time = self.in_time.get(gate.latency.objective_s, (0, 0))
        return self.evidence

    def count_routed(self, routed: dict[str, Any] | None, digest: str) -> None:
        """Count the requests that name no variant, and those that the variant's artifact could not answer."""
        if routed is not None:
            self.routed += routed["requests"]
            self.not_served += routed["unable"].get(digest, 0)

    def count_served(self, parent: dict[str, Any] | None, variant: dict[str, Any] | None, gate: Gate) -> None:
        """Count the answers to clients of both arms: errors by second, latency by block."""
        guard, arms = gate.guard or Guard(), self.evidence.arms
        self.failed_at_both += sum(each.get("failed_at_both", 0) for each in (parent, variant) if each)
        counted = (variant or {}).get("seconds") or (parent or {}).get("seconds") or ()
        latest = max((each[1] for each in counted), default=0)
        for _, second, _, share in (parent or {}).get("seconds", ()):
            self.parent_rate.add(share)
            self.parent_seconds[second] = share
        for version, second, requests, share in sorted((variant or {}).get("seconds", ()), key=SECOND):
            self.evidence.tallies["errors"].add(round(share, 3))
            if arms is not None and version >= self.since:
                beside = self.parent_share(second)
                arms.add_second(second, beside, share, requests, self.parent_rate, guard.errors or NO_LIMIT)
                if beside is not None:
                    self.evidence.beside.differences.add(round(share - beside, 3))
        self.parent_seconds = {at: share for at, share in self.parent_seconds.items() if at >= latest - 2 * BESIDE_S}
        blocks = {(each[0], each[2]): each for each in (parent or {}).get("minutes", ())}
        for version, objective_s, block, requests, within, _, p95_s in (variant or {}).get("minutes", ()):
            if objective_s is not None:
                self.latency_within(objective_s).add(round(within / requests, 3))
                before = self.in_time.get(objective_s, (0, 0))
                self.in_time[objective_s] = before[0] + within, before[1] + requests
            other = blocks.get((version, block))
            if arms is None or other is None or version < self.since or min(requests, other[3]) < FEWEST:
                continue
            if p95_s is not None and other[6] is not None:
                slow = p95_s > (guard.latency or NO_LIMIT) * other[6]
                arms.add_block(slow)
                self.evidence.beside.slow.add(float(slow))

    def parent_share(self, second: int) -> float | None:
        """The parent's share of failures in a second, or in its latest second of the minute before; None without."""
        if second in self.parent_seconds:
            return self.parent_seconds[second]
        known = [each for each in self.parent_seconds if second - BESIDE_S <= each <= second]
        return self.parent_seconds[max(known)] if known else None

    def count_shadowed(self, shadowed: dict[str, Any], gate: Gate | None) -> None:
        """Count shadow pairs. An error counts only if the replay asked the variant: `count_served` has the others."""
        evidence = self.evidence
        self.seen += shadowed.get("seen", 0)
        self.incomparable.update(shadowed.get("incomparable", {}))
        evidence.chosen += shadowed["chosen"]
        evidence.skipped += len(shadowed["skipped"])
        for metric, reasons in shadowed["lost"].items():
            for reason, lengths in reasons.items():
                self.lose(metric, reason, len(lengths))
        for each in shadowed["pairs"]:
            if self.ids.add(each["id"]):
                self.count_pair(each, gate or WATCHED)
        for each in shadowed.get("opinions", ()):
            self.opinions.count(each, evidence.preference, (gate or WATCHED).preference)

    def why_not_counted(self, name: str) -> str | None:
        """Why an opinion on a pair whose answers differ would not count; None where it would."""
        if name in self.opinions.closed:
            return UNCOUNTED["first"]
        if name in self.opinions.open:
            return None
        if name in self.ids:
            return UNCOUNTED["decided"]
        return UNCOUNTED["over"]

    def lose(self, metric: Metric, reason: str, times: int = 1) -> None:
        """Count sampled requests that came to nothing: at worst, also for what would have been preferred."""
        self.lost[reason] += times
        self.evidence.paired(metric).lost += times
        self.evidence.preference.lost += times

    def count_pair(self, each: dict[str, Any], gate: Gate) -> None:
        evidence = self.evidence
        if each["asked"]:
            evidence.tallies["errors"].add(float(each["failed"]))
            if evidence.arms is not None and gate.guard is not None and gate.guard.errors is not None:
                evidence.arms.add_replay(each["failed"], self.parent_rate, gate.guard.errors)
        metric: Metric = each["metric"] or ("quality" if each["label"] else "agreement")
        client = None if each["trusted"] else each["client"]
        if not self.clients.setdefault(metric, ClientShares()).admit(client, gate.client_share):
            evidence.over_share += 1
            return
        if each["metric"] is None:
            self.lose(metric, each["lost"])
            return
        variant, parent = each["values"]
        delta = gate.quality if metric == "quality" else gate.agreement
        repeated = not self.requests.add(each["request"])
        paired = evidence.paired(metric)
        new = client is None or self.named.add(client)
        paired.add((variant, parent), repeated, delta, each.get("segments", {}), each.get("shuffled"), new)
        self.opinions.count_pair(each, evidence.preference, gate.preference, repeated, new)
        self.divergence += each.get("divergence") or 0.0

    def to_json(self) -> dict[str, Any]:
        """What was compared, what was not and why, and whether assignments follow the weights."""
        evidence, assignments = self.evidence, self.evidence.assignments
        incomparable = sum(self.incomparable.values())
        contrast, worst = evidence.quality.contrast(), assignments.departs()
        return {
            "pairs": {
                "chosen": evidence.chosen,
                "compared": self.compared,
                "distinct": sum(each.distinct.total() for each in (evidence.quality, evidence.agreement)),
                "skipped": evidence.skipped,
                "lost": dict(self.lost),
                "over_share": evidence.over_share,
                "divergence": self.divergence / self.compared if self.compared else None,
            },
            "coverage": {
                "seen": self.seen,
                "comparable": self.seen - incomparable,
                "share": 1 - incomparable / self.seen if self.seen else None,
                "incomparable": dict(self.incomparable),
                "failed_at_both": self.failed_at_both,
            },
            "labels": {"n": contrast.n, "contrast": contrast.mean if contrast.n else None},
            "opinions": self.opinions.to_json(),
            "routed": {
                "requests": self.routed,
                "not_served": self.not_served,
                "share_not_served": self.not_served / self.routed if self.routed else None,
            },
            "assignments": {
                "seen": assignments.seen,
                "due": {name: round(due, 1) for name, due in assignments.due.items()},
                "broken": assignments.is_broken(),
                "departs": worst and worst.to_json(),
            },
        }
