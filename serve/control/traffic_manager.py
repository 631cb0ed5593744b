"""Decides about traffic: takes changes from people, verdicts from evidence, and writes each down before it takes
effect.

Everything it knows is a fold over its journal (`serve.control.state`); what it makes of it is the next version of what
is live. A decision and the traffic that follows from it are one entry, so there is no moment between them. What an
ingress reports is on disk before the ingress is told so. Knows no Ray and no HTTP, and never waits."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve.config.snapshot import Snapshot, build_snapshot, with_traffic
from serve.config.stack import Model
from serve.config.traffic import Versioned, read_traffic
from serve.control.contract import ObservationBatch
from serve.control.journal import Entry, Journal
from serve.control.rollout import Rollout, RolloutPlan, next_of, read_plan, read_search, unknowable
from serve.control.state import ControlState
from serve.control.traffic_migration import carried_over, ended
from serve.errors import Conflict, Stale
from serve.protocols.answer_id import check_feedback
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.errors import InputError, UnderstudyError, UnknownName
from variants.evidence.gate import Evidence, Verdict, judge
from variants.home import home
from variants.machine import describe

log = logging.getLogger("understudy.traffic")
VERSIONS_AN_EPOCH = 1_000_000
"""A controller that is started anew gives out versions above all that came before."""


class TrafficManager:
    """`state` is the folder of the journal, and belongs to one address of a server; `snapshot` is what the stack
    says."""

    def __init__(self, state: Path, snapshot: Snapshot) -> None:
        self.state, self.journal = state, Journal(state)
        self.ledger = ControlState.read(self.journal.entries())
        self.held_since: dict[str, float] = {}
        first = self.journal.epoch * VERSIONS_AN_EPOCH
        self.adopt(build_snapshot(snapshot.stack, snapshot.artifacts, first, self.ledger.traffic), "the stack file")

    def adopt(self, snapshot: Snapshot, why: str) -> None:
        """Serve by another stack from now on. Raises Conflict, StoreFull: then all is as it was."""
        self.write_all(*carried_over(self.ledger, snapshot, why))
        self.snapshot = snapshot
        self.show()

    def write(self, kind: str, what: Entry) -> None:
        self.write_all((kind, what))

    def write_all(self, *entries: tuple[str, Entry]) -> None:
        """On disk first, all or none of them, then known. Raises Conflict, StoreFull: then nothing has changed, and
        neither has it where an entry cannot be counted, which would end every later start."""
        written = self.journal.append(*entries)
        try:
            for entry in written:
                self.ledger.apply(entry)
        except Exception:
            self.journal.take_back(len(written))
            self.ledger = ControlState.read(self.journal.entries())
            raise

    def show(self) -> None:
        """Make a version of what is known."""
        traffic = {model: self.ledger.traffic[model] for model in self.snapshot.stack.models}
        judged = {
            model: rollout.plan.gate.latency.objective_s if rollout.plan.gate.latency else None
            for model, rollout in self.ledger.rollouts.items()
            if rollout.open
        }
        self.snapshot = with_traffic(self.snapshot, traffic, judged, self.snapshot.version + 1)

    def replace(self, wanted: Snapshot) -> Snapshot:
        """Another stack takes effect: its variants, and its traffic where it declares another. Raises as `adopt`."""
        following = build_snapshot(wanted.stack, wanted.artifacts, self.snapshot.version + 1, self.ledger.traffic)
        self.adopt(following, "a stack was applied")
        return self.snapshot

    def model(self, name: str) -> Model:
        """Raises UnknownName."""
        models = self.snapshot.stack.models
        if name not in models:
            raise UnknownName(f"there is no model {name!r}", field="model", mend=f"models are {', '.join(models)}")
        return models[name]

    def traffic_of(self, model: str) -> dict[str, Any]:
        self.model(model)
        found = self.ledger.traffic[model]
        return {
            "model": model,
            "version": found.version,
            "traffic": found.traffic.model_dump(mode="json"),
            "shares": found.traffic.shares,
        }

    def set_traffic(
        self, model: str, document: Mapping[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        """Raises InputError naming the field, Stale where `version` is not the one in force, Conflict while a rollout
        moves this traffic."""
        traffic = read_traffic(document, self.model(model), model)
        standing, rollout = self.ledger.traffic[model], self.ledger.rollouts.get(model)
        if version is not None and version != standing.version:
            raise Stale(
                f"version {version} of the traffic of {model} was changed: {standing.version} is in force",
                field="If-Match",
                mend="read it again and decide anew",
            )
        if rollout is not None and rollout.open:
            raise Conflict(
                f"a rollout to {rollout.plan.variant} moves the traffic of {model}",
                mend=f"end it first: understudy rollout abort {model}",
            )
        changed = Versioned(standing.version + 1, traffic, standing.declared)
        self.write("traffic", {"model": model, "who": who, "why": why, **changed.to_json()})
        self.show()
        return self.traffic_of(model)

    def read_plan(self, model: str, document: dict[str, Any]) -> tuple[RolloutPlan, str]:
        """Raises InputError naming the field."""
        return read_plan(document, self.model(model), model)

    def begin(
        self, model: str, plan: RolloutPlan, parent: str, who: str, queue: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """Raises Conflict where a rollout of the model is on its way, InputError where there is no traffic to move."""
        standing = self.ledger.rollouts.get(model)
        if standing is not None and standing.open:
            raise Conflict(
                f"a rollout to {standing.plan.variant} is on its way at {standing.doing}",
                mend=f"wait for it, or end it: understudy rollout abort {model}",
            )
        traffic = self.ledger.traffic[model].traffic
        if traffic.weights[parent] + traffic.weights[plan.variant] == 0:
            raise InputError(f"neither {parent} nor {plan.variant} has any traffic to move", field="variant")
        parent_digest, digest = (self.snapshot.variants[model, name].manifest.digest for name in (parent, plan.variant))
        why = f"begun by {who}"
        rollout = Rollout(plan, parent, (parent_digest, digest), before=traffic, why=why, queue=queue)
        self.move(model, rollout, who, None)
        return self.rollout_of(model)

    def search(self, model: str, document: dict[str, Any], who: str) -> dict[str, Any]:
        """Begin with the cheapest of the variants that cost less than their parent, by the cards of this machine.
        Raises InputError where no card says so, Conflict where a rollout is on its way."""
        search, _, _ = read_search(document, self.model(model), model)
        parent, first, *others = self.candidates(model, document)
        return self.begin(model, search.plan(first, 1 + len(others)), parent, who, tuple(others))

    def candidates(self, model: str, document: dict[str, Any]) -> list[str]:
        """The parent that a search compares with, and what it tries, the cheapest first. Raises InputError."""
        _, parent, children = read_search(document, self.model(model), model)
        costs = self.costs_of(model, [parent, *children])
        if costs[parent] is None or not any(costs[child] is not None for child in children):
            raise InputError(
                f"no cards of this machine say what {parent} and its variants cost",
                field="objective",
                mend=f"understudy evaluate {model}",
            )
        known = {child: cost for child in children if (cost := costs[child]) is not None and cost < costs[parent]}
        if not known:
            raise InputError(f"no variant of {model} costs less than {parent}", field="objective")
        return [parent, *sorted(known, key=lambda child: known[child])]

    def costs_of(self, model: str, variants: list[str]) -> dict[str, Any]:
        try:
            cards = Catalog(home()).model(model).cards
        except UnknownName:  # served, but never built into this catalog
            cards = {}
        snapshot = {name: self.snapshot.variants[model, name] for name in variants}
        return {
            name: cost_of(cards.get(found.manifest.digest, ()), found.engine.settings.model_dump(mode="json"))
            for name, found in snapshot.items()
        }

    def steer(self, model: str, action: str, who: str) -> dict[str, Any]:
        """Pause, resume or abort. Raises InputError for another word, Conflict where that cannot be."""
        self.model(model)
        rollout = self.ledger.rollouts.get(model)
        wanted = {"pause": ("running", "paused"), "resume": ("paused", "running"), "abort": (None, "aborted")}.get(
            action
        )
        if wanted is None:
            raise InputError(f"no action {action!r}", field="action", mend="pause, resume or abort")
        if rollout is None or not rollout.open:
            raise Conflict(f"no rollout of {model} is on its way")
        if wanted[0] not in (None, rollout.status):
            raise Conflict(f"the rollout of {model} is {rollout.status}")
        self.move(model, replace(rollout, status=wanted[1], why=f"{action} by {who}"), who, None)  # type: ignore[arg-type]
        return self.rollout_of(model)

    def move(self, model: str, rollout: Rollout, who: str, verdict: Verdict | None) -> None:
        """One entry: where the rollout stands, why, and the traffic that follows."""
        standing = self.ledger.traffic[model]
        found = Versioned(standing.version + 1, rollout.traffic(), standing.declared)
        entry = {"model": model, "who": who, "why": rollout.why, **found.to_json(), "rollout": rollout.to_json()}
        self.write("rollout", entry | ({"verdict": verdict_document(verdict)} if verdict else {}))
        self.held_since[model] = time.monotonic()
        self.show()

    def count(self, ingress: str, batch: ObservationBatch) -> None:
        """What an ingress has seen, once. A batch that cannot be counted is left out: the ingress would give it for
        ever, and hear of no other version meanwhile."""
        if batch["number"] <= self.ledger.batches.get(ingress, 0):
            return
        try:
            self.write("outcomes", {"ingress": ingress, **batch})
        except UnderstudyError:
            raise
        except Exception:
            log.exception("batch %d of ingress %s cannot be counted", batch["number"], ingress)
            self.write("outcomes", {"ingress": ingress, **batch, "models": {}})

    def judge_all(self) -> None:
        """Take what evidence decides, model by model: what goes wrong with one is logged, and decided again later."""
        for model, rollout in list(self.ledger.rollouts.items()):
            try:
                if model in self.snapshot.stack.models:
                    self.judge_one(model, rollout)
            except UnderstudyError as error:
                log.warning("no verdict on %s could be written down: %s", model, error)
            except Exception:  # a defect met by one model must not keep another from being rolled back
                log.exception("%s could not be judged", model)

    def judge_one(self, model: str, rollout: Rollout) -> None:
        """Raises Conflict, StoreFull where nothing can be written down."""
        if rollout.status == "rolled back" and rollout.queue:
            self.try_next(model, rollout)
        elif rollout.status == "running":
            verdict = self.verdict(model, rollout)
            held = time.monotonic() - self.held_since.setdefault(model, time.monotonic())
            moved = next_of(rollout, verdict, held)
            if moved is not rollout:
                self.move(model, moved, "evidence", verdict)

    def try_next(self, model: str, rollout: Rollout) -> None:
        """A search goes on with the next of its candidates that is still served, and ends where there is none."""
        left = [name for name in rollout.queue if (model, name) in self.snapshot.variants]
        why = "no other candidate is served"
        if left and (model, rollout.parent) in self.snapshot.variants:
            try:
                plan = rollout.plan.model_copy(update={"variant": left[0]})
                self.begin(model, plan, rollout.parent, "evidence", tuple(left[1:]))
            except InputError as error:
                why = str(error)
            else:
                return
        rollout = replace(rollout, queue=(), why=f"{rollout.why}; {why}")
        self.write_all(ended(model, rollout, self.ledger.traffic[model]))

    def verdict(self, model: str, rollout: Rollout) -> Verdict:
        evidence = self.evidence(model, rollout)
        return judge(rollout.plan.gate, evidence, unknowable(rollout))

    def evidence(self, model: str, rollout: Rollout) -> Evidence:
        pair, gate = self.ledger.pair(rollout.pair), rollout.plan.gate
        if gate.cost:
            variant, parent = self.costs_of(model, [rollout.plan.variant, rollout.parent]).values()
            pair.evidence.costs = None if variant is None or parent is None else (variant, parent)
        if gate.latency:
            pair.evidence.tallies["latency"] = pair.latency_within(gate.latency.objective_s)
        if gate.feedback:
            pair.evidence.tallies["feedback"] = self.ledger.feedback_on(rollout.digests[1])
        pair.evidence.lengths_differ = pair.lengths_differ
        if gate.floor:
            pair.evidence.tallies["floor"] = pair.above_floor(rollout.plan.by, gate.floor)
        return pair.evidence

    def rollout_of(self, model: str) -> dict[str, Any]:
        """The latest rollout of a model, with the verdict as of now. Raises UnknownName."""
        self.model(model)
        rollout = self.ledger.rollouts.get(model)
        if rollout is None:
            return {"model": model, "rollout": None}
        pair, verdict = self.ledger.pair(rollout.pair), self.verdict(model, rollout)
        return {
            "model": model,
            "rollout": rollout.to_json() | {"doing": rollout.doing},
            "verdict": verdict_document(verdict),
            "pairs": {
                "chosen": pair.evidence.chosen,
                "dropped": pair.evidence.dropped,
                "unjudged": pair.evidence.unjudged,
                "compared": pair.compared,
                "divergence": pair.divergence / pair.compared if pair.compared else None,
            },
            "assignments": {
                "seen": pair.evidence.assignments.seen,
                "due": {name: round(due, 1) for name, due in pair.evidence.assignments.due.items()},
                "broken": pair.evidence.assignments.is_broken(),
            },
            "traffic": self.traffic_of(model),
        }

    def feedback(self, document: dict[str, Any]) -> dict[str, Any]:
        """A score for an answer, by the id it carried; late or twice, counted once. Raises InputError."""
        entry = check_feedback(document)
        counted = entry["id"] not in self.ledger.feedback_ids
        if counted:
            self.write("feedback", entry)
        return {"counted": counted, "model": entry["model"], "variant": entry["variant"]}

    def last(self, count: int) -> list[Entry]:
        return self.journal.last(count)


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "different": verdict.different,
        "findings": [dict(vars(found)) for found in verdict.findings],
        "missing": list(verdict.missing),
    }


def cost_of(cards: tuple[Card, ...], engine: dict[str, Any]) -> float | None:
    """Of the newest card of this machine and these engine settings that says it; engine seconds per 1,000 requests."""
    here = describe()
    measured = (card for card in reversed(cards) if (card.hardware, card.engine) == (here, engine))
    return next((cost for card in measured if (cost := card.cost_cpu_s)), None)
