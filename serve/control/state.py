"""The controller's state of traffic, rollouts and evidence: a fold over its journal, and nothing else.

So a restarted controller has exactly the state of the one before it. Every kind of entry has one method here.

Every report of an ingress counts once. Batches are numbered by ingress. A pair counts once for each (request, parent,
variant), a client's first assignment once, and feedback once for each request id. Evidence is stored as tallies of
constant size. Names seen before are kept in bounded memory (`serve.control.seen_set`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from serve.config.traffic import Versioned
from serve.control.contract import RULES
from serve.control.journal import Entry
from serve.control.records.history import History
from serve.control.rollout import Rollout
from serve.control.seen_set import SeenSet
from variants.evidence.betting import Tally
from variants.evidence.gate import RANGES, Evidence, Metric

Weights = dict[str, float]


@dataclass
class PairEvidence:
    """One pair of artifacts: the evidence for a gate, and the counts behind it."""

    evidence: Evidence = field(default_factory=Evidence)
    requests: SeenSet = field(default_factory=SeenSet)
    compared: int = 0
    kept_lengths: Counter[int] = field(default_factory=Counter)
    lost_lengths: Counter[int] = field(default_factory=Counter)
    latency: dict[float, Tally] = field(default_factory=dict)
    """By objective in seconds: a measurement against one objective is no evidence about another."""
    values: dict[Metric, Counter[tuple[float, float]]] = field(default_factory=dict)
    """By metric: how often each pair of values (variant's, parent's) occurred."""
    routed: int = 0
    not_served: int = 0
    """Requests that named no variant, and those among them that the variant could not answer."""
    divergence: float = 0.0
    """Sum of the pairs' Kullback-Leibler divergences, in nats a position."""

    def above_floor(self, metric: Metric, floor: float) -> Tally:
        """A tally of the variant's value minus `floor` times its parent's, over every pair of a metric."""
        tally = Tally(*RANGES["floor"])
        for (variant, parent), times in self.values.get(metric, {}).items():
            tally.add(round(variant - floor * parent, 6), times)
        return tally

    def latency_within(self, objective_s: float) -> Tally:
        """A tally of the share of requests within an objective, one value a second."""
        return self.latency.setdefault(objective_s, Tally(*RANGES["latency"]))


@dataclass
class ControlState:
    """`weights` holds earlier versions too: an assignment is compared with the weights in force when it was made."""

    traffic: dict[str, Versioned] = field(default_factory=dict)
    weights: dict[tuple[str, int], Weights] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    pairs: dict[str, PairEvidence] = field(default_factory=dict)
    clients: dict[str, SeenSet] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, Tally] = field(default_factory=dict)
    feedback_ids: SeenSet = field(default_factory=SeenSet)
    history: History = field(default_factory=History)

    @classmethod
    def read(cls, entries: Iterable[Entry]) -> "ControlState":
        state = cls()
        for entry in entries:
            state.apply(entry)
        return state

    def apply(self, entry: Entry) -> None:
        """Count one entry of the journal."""
        getattr(self, f"apply_{entry['kind']}")(entry)

    def apply_traffic(self, entry: Entry) -> None:
        versioned = Versioned.from_json(entry)
        self.traffic[entry["model"]] = versioned
        self.weights[entry["model"], versioned.version] = versioned.traffic.weights

    def apply_rollout(self, entry: Entry) -> None:
        """A change of a rollout and the traffic that follows from it, in one entry."""
        self.apply_traffic(entry)
        self.rollouts[entry["model"]] = Rollout.from_json(entry["rollout"])
        self.history.note(entry, self.rollouts[entry["model"]].open)

    def apply_progress(self, entry: Entry) -> None:
        """How the evidence of a rollout stood at one moment."""
        self.history.note_progress(entry)

    def apply_outcomes(self, entry: Entry) -> None:
        """Count one batch of an ingress, unless it was counted before or its server counted by other rules."""
        if entry["number"] <= self.batches.get(entry["ingress"], 0):
            return
        self.batches[entry["ingress"]] = entry["number"]
        if entry.get("rules") != RULES:
            return
        for model, observed in entry["models"].items():
            rollout = self.rollouts.get(model)
            if rollout is not None and rollout.open:
                pair = self.pair(rollout.pair)
                self.count_routed(pair, observed.get("routed"), rollout.digests[1])
                self.count_assigned(pair.evidence, model, observed)
                self.count_served(pair, observed["served"].get(rollout.digests[1]))
            self.note_clients(model, observed)
            for name, shadowed in observed["shadows"].items():
                self.count_shadowed(self.pair(name), shadowed)

    def apply_feedback(self, entry: Entry) -> None:
        """A score in [0, 1] for a request. Only the first counts, and none for a pinned variant."""
        if self.feedback_ids.add(entry["id"]) and entry.get("reason") != "pinned":
            self.feedback_on(entry["artifact"]).add(entry["score"])

    def feedback_on(self, digest: str) -> Tally:
        """The scores of an artifact's answers."""
        return self.feedback.setdefault(digest, Tally(*RANGES["feedback"]))

    def pair(self, name: str) -> PairEvidence:
        return self.pairs.setdefault(name, PairEvidence())

    def count_routed(self, pair: PairEvidence, routed: dict[str, Any] | None, digest: str) -> None:
        """Count the requests that name no variant, and those that the variant's artifact could not answer."""
        if routed is not None:
            pair.routed += routed["requests"]
            pair.not_served += routed["unable"].get(digest, 0)

    def count_assigned(self, evidence: Evidence, model: str, observed: dict[str, Any]) -> None:
        """Compare first assignments with the weights in force when they were made."""
        known = self.clients.setdefault(model, SeenSet())
        for version, assigned in observed["assigned"].items():
            weights = self.weights.get((model, int(version)))
            if weights is None:  # its traffic version is not in this journal
                continue
            counts = Counter(assigned["anonymous"])
            counts.update(variant for client, variant in assigned["clients"].items() if client not in known)
            evidence.assignments.add(counts, weights)

    def note_clients(self, model: str, observed: dict[str, Any]) -> None:
        known = self.clients.setdefault(model, SeenSet())
        for assigned in observed["assigned"].values():
            for client in assigned["clients"]:
                known.add(client)

    def count_served(self, pair: PairEvidence, served: dict[str, Any] | None) -> None:
        """Count the variant's answers to clients, if there are any: errors by request, latency by second."""
        if served is None:
            return
        pair.evidence.tallies["errors"].add(1.0, served["failed"])
        pair.evidence.tallies["errors"].add(0.0, served["requests"] - served["failed"])
        for objective_s, within, requests in served["seconds"]:
            pair.latency_within(objective_s).add(round(within / requests, 3))

    def count_shadowed(self, pair: PairEvidence, shadowed: dict[str, Any]) -> None:
        """Count shadow pairs. An error counts only if the replay asked the variant: `count_served` has the others."""
        evidence = pair.evidence
        evidence.chosen += shadowed["chosen"]
        evidence.dropped += len(shadowed["dropped"])
        evidence.unjudged += len(shadowed["unjudged"])
        pair.lost_lengths.update(shadowed["dropped"])
        pair.lost_lengths.update(shadowed["unjudged"])
        for each in shadowed["pairs"]:
            if each["metric"] is None:
                evidence.unjudged += 1
                pair.lost_lengths[each["length"]] += 1
            if not pair.requests.add(each["request"]):
                continue
            if each["asked"]:
                evidence.tallies["errors"].add(float(each["failed"]))
            if each["metric"] is None:
                continue
            pair.compared += 1
            pair.kept_lengths[each["length"]] += 1
            variant, parent = each["values"]
            evidence.tallies[each["metric"]].add(round(variant - parent, 3))
            pair.values.setdefault(each["metric"], Counter())[variant, parent] += 1
            pair.divergence += each.get("divergence") or 0.0
