"""The controller's state of traffic, rollouts and evidence: a fold over its journal, and nothing else.

So a restarted controller has exactly the state of the one before it. Every kind of entry has one method here.

Every report of an ingress counts once. Batches are numbered by ingress. A pair counts once for each request's id, a
client's first assignment once, and feedback once for each request id. Evidence is stored as tallies of constant size.
Names seen before are kept in bounded memory (`serve.control.seen_set`). Each rollout begins with no evidence, unless
its plan continues that of the one before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from serve.config.traffic import Versioned
from serve.control.contract import RULES
from serve.control.journal import Entry
from serve.control.pair_evidence import PairEvidence
from serve.control.records.history import History
from serve.control.rollout import Rollout
from serve.control.seen_set import SeenSet
from variants.evidence.betting import Tally
from variants.evidence.client_shares import ClientShares
from variants.evidence.gate import CLIENT_SHARE, RANGES, Evidence
from variants.evidence.sample_ratio import Source

Weights = dict[str, float]


@dataclass
class ControlState:
    """`weights` holds earlier versions too: an assignment is compared with the weights in force when it was made.
    `attempts` is the number of rollouts by model@variant. `scorers` bounds the scores of one client, by artifact."""

    traffic: dict[str, Versioned] = field(default_factory=dict)
    weights: dict[tuple[str, int], Weights] = field(default_factory=dict)
    rollouts: dict[str, Rollout] = field(default_factory=dict)
    pairs: dict[str, PairEvidence] = field(default_factory=dict)
    clients: dict[str, SeenSet] = field(default_factory=dict)
    batches: dict[str, int] = field(default_factory=dict)
    feedback: dict[str, Tally] = field(default_factory=dict)
    feedback_ids: SeenSet = field(default_factory=SeenSet)
    scorers: dict[str, ClientShares] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
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
        model, rollout = entry["model"], Rollout.from_json(entry["rollout"])
        before = self.rollouts.get(model)
        self.rollouts[model] = rollout
        self.history.note(entry, rollout.open)
        if before is None or (before.began, before.pair) != (rollout.began, rollout.pair):
            self.begin_evidence(f"{model}@{rollout.plan.variant}", rollout)
            known = before.rivals.values() if before is not None and rollout.follows else ()
            self.pairs |= {pair: PairEvidence() for pair in rollout.rivals.values() if pair not in known}
        elif before.step == rollout.step and (rollout.status != "promoted" or before.status == "promoted"):
            return  # paused, resumed or ended: the step's evidence is kept
        self.pair(rollout.pair).begin_step(entry["version"])

    def apply_progress(self, entry: Entry) -> None:
        """How the evidence of a rollout stood at one moment."""
        self.history.note_progress(entry)

    def begin_evidence(self, name: str, rollout: Rollout) -> None:
        """Begin with no evidence, unless the plan continues and there is some. Evidence that is continued was begun by
        an earlier attempt, and needs no new one. Nor does a comparison of the parent with itself. A candidate that
        follows another in a search keeps what it has shown on the same requests, and begins its attempt."""
        attempts = self.attempts.get(name, 0)
        continued = rollout.plan.continues and rollout.pair in self.pairs
        if not rollout.plan.aa:
            self.attempts[name] = max(1, attempts) if continued else attempts + 1
        if not continued and not rollout.follows:
            self.pairs[rollout.pair] = PairEvidence()

    def apply_outcomes(self, entry: Entry) -> None:
        """Count one batch of an ingress, unless it was counted before or its server counted by other rules."""
        if entry["number"] <= self.batches.get(entry["ingress"], 0):
            return
        self.batches[entry["ingress"]] = entry["number"]
        if entry.get("rules") != RULES:
            return
        for model, observed in entry["models"].items():
            rollout = self.rollouts.get(model)
            if rollout is not None and rollout.counts:
                pair, (parent, variant), served = self.pair(rollout.pair), rollout.digests, observed["served"]
                pair.count_routed(observed.get("routed"), variant)
                self.count_assigned(pair.evidence, model, observed)
                source = served.get(rollout.source_digest or parent)
                pair.count_served(source, served.get(variant), rollout.plan.gate)
            self.note_clients(model, observed)
            for name, shadowed in observed["shadows"].items():
                counts = rollout is not None and rollout.counts and name in (rollout.pair, *rollout.rivals.values())
                gate = rollout.plan.gate if rollout is not None and counts else None
                self.pair(name).count_shadowed(shadowed, gate)

    def apply_feedback(self, entry: Entry) -> None:
        """A score in [0, 1] for a request. Only the first counts, none for a pinned variant, and none of a client that
        brought its share of the artifact's scores."""
        if not self.feedback_ids.add(entry["id"]) or entry.get("reason") == "pinned":
            return
        if self.scorers.setdefault(entry["artifact"], ClientShares()).admit(entry.get("client"), CLIENT_SHARE):
            self.feedback_on(entry["artifact"]).add(entry["score"])

    def feedback_on(self, digest: str) -> Tally:
        """The scores of an artifact's answers."""
        return self.feedback.setdefault(digest, Tally(*RANGES["feedback"]))

    def pair(self, name: str) -> PairEvidence:
        return self.pairs.setdefault(name, PairEvidence())

    def why_not_counted(self, key: str, pair: str) -> str | None:
        """Why an opinion on a pair of the evidence `key` would not count; None where it would."""
        return self.pairs.get(key, PairEvidence()).why_not_counted(pair)

    def count_assigned(self, evidence: Evidence, model: str, observed: dict[str, Any]) -> None:
        """Compare first assignments with the weights in force when they were made."""
        known = self.clients.setdefault(model, SeenSet())
        for version, assigned in observed["assigned"].items():
            weights = self.weights.get((model, int(version)))
            if weights is None:  # its traffic version is not in this journal
                continue
            counts = Counter(assigned["anonymous"])
            new = {client: variant for client, variant in assigned["clients"].items() if client not in known}
            counts.update(new.values())
            evidence.assignments.add(counts, weights)
            for source, of_source in sources_of(assigned, new):
                evidence.assignments.departures.add(source, of_source, weights)

    def note_clients(self, model: str, observed: dict[str, Any]) -> None:
        known = self.clients.setdefault(model, SeenSet())
        for assigned in observed["assigned"].values():
            for client in assigned["clients"]:
                known.add(client)


def sources_of(assigned: dict[str, Any], new: dict[str, str]) -> Iterator[tuple[Source, Counter[str]]]:
    """Where assignments came from. `new` has the variants of named clients that count. Older ingresses do not say."""
    for *source, counts in assigned.get("sources", ()):
        yield Source(*source), Counter(counts)
    named: dict[Source, Counter[str]] = {}
    for client, source in assigned.get("named", {}).items():
        if client in new:
            named.setdefault(Source(*source), Counter())[new[client]] += 1
    yield from named.items()
