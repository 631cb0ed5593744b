"""What the controller knows of traffic, rollouts and outcomes: a fold over its journal, and nothing else, so that a
controller that is started anew stands exactly where the one before it stood.

Every kind of entry has one method here. What an ingress reports is counted once: batches are numbered by ingress, a
pair counts once for each (request, parent, variant), a client's first assignment once, feedback once for a request's
id. Evidence is tallies, which do not grow; what came before is remembered as long as memory is worth it
(`serve.control.seen_set`).
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from serve.config.traffic import Traffic, Versioned
from serve.control.contract import RULES
from serve.control.journal import Entry
from serve.control.rollout import Rollout
from serve.control.seen_set import SeenSet
from variants.evidence.betting import Tally
from variants.evidence.dropped_pairs import differ
from variants.evidence.gate import RANGES, Evidence, Metric

Weights = dict[str, float]


@dataclass
class PairEvidence:
    """All about one pair of artifacts: the evidence for a gate, and what it was counted from."""

    evidence: Evidence = field(default_factory=Evidence)
    requests: SeenSet = field(default_factory=SeenSet)
    compared: int = 0
    kept_lengths: Counter[int] = field(default_factory=Counter)
    lost_lengths: Counter[int] = field(default_factory=Counter)
    latency: dict[float, Tally] = field(default_factory=dict)
    """By objective in seconds: what was measured against one says nothing of another."""
    values: dict[Metric, Counter[tuple[float, float]]] = field(default_factory=dict)
    """How often the variant and its parent had which two values, by metric."""
    divergence: float = 0.0
    """Sum of the pairs' Kullback-Leibler divergences, nats a position."""

    def above_floor(self, metric: Metric, floor: float) -> Tally:
        """The variant's value minus `floor` times its parent's, for every pair of a metric."""
        tally = Tally(*RANGES["floor"])
        for (variant, parent), times in self.values.get(metric, {}).items():
            tally.add(round(variant - floor * parent, 6), times)
        return tally

    def latency_within(self, objective_s: float) -> Tally:
        """Shares of the variant's requests within an objective, a second each."""
        return self.latency.setdefault(objective_s, Tally(*RANGES["latency"]))

    @property
    def lengths_differ(self) -> bool:
        return differ(self.kept_lengths, self.lost_lengths)


@dataclass
class ControlState:
    """`weights` are those of earlier versions too: assignments are judged by the weights in force when they were
    made."""

    traffic: dict[str, Versioned] = field(default_factory=dict)
    weights: dict[tuple[str, int], Weights] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    pairs: dict[str, PairEvidence] = field(default_factory=dict)
    clients: dict[str, SeenSet] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, Tally] = field(default_factory=dict)
    feedback_ids: SeenSet = field(default_factory=SeenSet)

    @classmethod
    def read(cls, entries: Iterable[Entry]) -> "ControlState":
        ledger = cls()
        for entry in entries:
            ledger.apply(entry)
        return ledger

    def apply(self, entry: Entry) -> None:
        """Count one entry of the journal."""
        getattr(self, f"apply_{entry['kind']}")(entry)

    def apply_traffic(self, entry: Entry) -> None:
        versioned = Versioned(
            entry["version"], Traffic.model_validate(entry["traffic"]), Traffic.model_validate(entry["declared"])
        )
        self.traffic[entry["model"]] = versioned
        self.weights[entry["model"], versioned.version] = versioned.traffic.weights

    def apply_rollout(self, entry: Entry) -> None:
        """A rollout that begins, moves or ends, and the traffic that goes with it: one entry, one truth."""
        self.apply_traffic(entry)
        self.rollouts[entry["model"]] = Rollout.from_json(entry["rollout"])

    def apply_outcomes(self, entry: Entry) -> None:
        """One batch of one ingress; one that was counted before is not counted again, nor one of a server that counted
        by other rules."""
        if entry["number"] <= self.batches.get(entry["ingress"], 0):
            return
        self.batches[entry["ingress"]] = entry["number"]
        if entry.get("rules") != RULES:
            return
        for model, found in entry["models"].items():
            for pair in self.open_pairs(model):
                self.count_assigned(pair, model, found)
                self.count_served(pair, found)
            self.note_clients(model, found)
            for name, shadowed in found["shadows"].items():
                self.count_shadowed(self.pair(name), shadowed)

    def apply_feedback(self, entry: Entry) -> None:
        """A score in [0, 1] for a request; the first one counts, and none of an answer that was asked for by name."""
        if self.feedback_ids.add(entry["id"]) and entry.get("reason") != "pinned":
            self.feedback_on(entry["artifact"]).add(entry["score"])

    def feedback_on(self, digest: str) -> Tally:
        """Scores of an artifact's answers."""
        return self.feedback.setdefault(digest, Tally(*RANGES["feedback"]))

    def pair(self, name: str) -> PairEvidence:
        return self.pairs.setdefault(name, PairEvidence())

    def open_pairs(self, model: str) -> list[tuple[Rollout, PairEvidence]]:
        rollout = self.rollouts.get(model)
        return [(rollout, self.pair(rollout.pair))] if rollout is not None and rollout.open else []

    def count_assigned(self, pair: tuple[Rollout, PairEvidence], model: str, found: dict[str, Any]) -> None:
        """First assignments, against the weights in force when they were made."""
        known = self.clients.setdefault(model, SeenSet())
        for version, assigned in found["assigned"].items():
            weights = self.weights.get((model, int(version)))
            if weights is None:  # made under traffic that no journal of this server knows
                continue
            counts = Counter(assigned["anonymous"])
            counts.update(variant for client, variant in assigned["clients"].items() if client not in known)
            pair[1].evidence.assignments.add(counts, weights)

    def note_clients(self, model: str, found: dict[str, Any]) -> None:
        known = self.clients.setdefault(model, SeenSet())
        for assigned in found["assigned"].values():
            for client in assigned["clients"]:
                known.add(client)

    def count_served(self, pair: tuple[Rollout, PairEvidence], found: dict[str, Any]) -> None:
        """What clients got of the variant: errors a request, latency a second."""
        rollout, evidence = pair[0], pair[1].evidence
        served = found["served"].get(rollout.digests[1])
        if served is None:
            return
        evidence.tallies["errors"].add(1.0, served["failed"])
        evidence.tallies["errors"].add(0.0, served["requests"] - served["failed"])
        for objective_s, within, requests in served["seconds"]:
            pair[1].latency_within(objective_s).add(round(within / requests, 3))

    def count_shadowed(self, pair: PairEvidence, shadowed: dict[str, Any]) -> None:
        """An error is the variant's where the variant was asked; what its client saw is counted when it was served."""
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
