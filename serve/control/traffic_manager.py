"""Decides the traffic of every model, from requests of operators and from evidence.

It writes every decision to the journal before it takes effect. Its state is a fold over that journal
(`serve.control.state`), and each decision makes the next version of the snapshot. A decision and its traffic are one
entry, so that a crash cannot separate them. A report of an ingress is on disk before it is acknowledged. Uses no Ray
and no HTTP, and never waits."""

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from serve.config.evidence_key import engines_hash, evidence_key
from serve.config.lineage import compressions_of
from serve.config.snapshot import Judged, Snapshot, build_snapshot, with_traffic
from serve.config.stack import Model
from serve.config.traffic import Versioned, read_traffic
from serve.control.card_beside import Cards, check_card
from serve.control.contract import ObservationBatch
from serve.control.records.document import account, around, by_id, document, engine_document, rival_document, summary
from serve.control.records.recorded_state import RecordedState
from serve.control.rollout import UNKNOWABLE, Rollout, RolloutPlan, next_of, rivals_of, source_of, unknowable
from serve.control.traffic_migration import carried_over, ended
from serve.errors import Conflict, Stale
from serve.protocols.answer_id import check_feedback
from serve.protocols.hash_keys import hash_keys
from variants.errors import InputError, UnderstudyError, UnknownName
from variants.evidence.gate import Context, Verdict, judge, promotion_alpha
from variants.evidence.guard import Guard
from variants.home import home

log = logging.getLogger("understudy.traffic")
VERSIONS_AN_EPOCH = 1_000_000
"""Each epoch starts a new range of versions, so a restarted controller's are above all earlier ones."""


class TrafficManager(RecordedState):
    """`folder` holds the journal, one for each server address. `snapshot` is what the stack file declares."""

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        super().__init__(folder)
        self.held_since: dict[str, float] = {}
        self.cards = Cards(lambda: self.snapshot)
        first = self.journal.epoch * VERSIONS_AN_EPOCH
        self.adopt(build_snapshot(snapshot.stack, snapshot.artifacts, first, self.state.traffic), "the stack file")

    def adopt(self, snapshot: Snapshot, why: str) -> None:
        """Serve another stack from now on. Raises Conflict, StoreFull; then nothing has changed."""
        self.write(*carried_over(self.state, snapshot, why))
        self.snapshot = snapshot
        self.show()

    def show(self) -> None:
        """Build the next snapshot from the state."""
        traffic = {model: self.state.traffic[model] for model in self.snapshot.stack.models}
        judged = {
            model: self.judged(model, rollout)
            for model, rollout in self.state.rollouts.items()
            if rollout.counts and model in self.snapshot.stack.models
        }
        self.snapshot = with_traffic(self.snapshot, traffic, judged, self.snapshot.version + 1)

    def judged(self, model: str, rollout: Rollout) -> Judged:
        """What the ingresses are to count for a rollout."""
        gate = rollout.plan.gate
        return Judged(
            gate.latency.objective_s if gate.latency else None,
            (gate.guard or Guard()).block_s,
            self.snapshot.stack.models[model].segments,
            rollout.digests,
            rollout.plan.variant if rollout.plan.aa else None,
        )

    def replace(self, wanted: Snapshot) -> None:
        """Put another stack into effect: its variants, and its traffic if it declares a new one. Raises as `adopt`."""
        following = build_snapshot(wanted.stack, wanted.artifacts, self.snapshot.version + 1, self.state.traffic)
        self.adopt(following, "a stack was applied")

    def model(self, name: str) -> Model:
        """Raises UnknownName."""
        models = self.snapshot.stack.models
        if name not in models:
            raise UnknownName(f"there is no model {name!r}", field="model", mend=f"models are {', '.join(models)}")
        return models[name]

    def traffic_of(self, model: str) -> dict[str, Any]:
        self.model(model)
        current = self.state.traffic[model]
        return {
            "model": model,
            "version": current.version,
            "traffic": current.traffic.model_dump(mode="json"),
            "shares": current.traffic.shares,
        }

    def set_traffic(
        self, model: str, document: Mapping[str, Any], version: int | None, who: str, why: str
    ) -> dict[str, Any]:
        """Raises InputError naming the field, Stale if `version` is not in force, Conflict during a rollout."""
        traffic = read_traffic(document, self.model(model), model)
        current, rollout = self.state.traffic[model], self.state.rollouts.get(model)
        if version is not None and version != current.version:
            raise Stale(
                f"version {version} of the traffic of {model} is out of date: {current.version} is in force",
                field="If-Match",
                mend="read the traffic again and repeat the change",
            )
        if rollout is not None and rollout.open:
            raise Conflict(
                f"a rollout to {rollout.plan.variant} controls the traffic of {model}",
                mend=f"end the rollout first: understudy rollout abort {model}",
            )
        changed = Versioned(current.version + 1, traffic, current.declared)
        entry = {"model": model, "who": who, "why": why, **changed.to_json()}
        if rollout is not None and rollout.watched:
            rollout = replace(rollout, watched=False, why=f"{who} changed the traffic")
            self.write(("rollout", entry | {"rollout": rollout.to_json()}))
        else:
            self.write(("traffic", entry))
        self.show()
        return self.traffic_of(model)

    def begin(
        self,
        model: str,
        plan: RolloutPlan,
        parent: str,
        who: str,
        queue: tuple[str, ...] = (),
        search: Rollout | None = None,
    ) -> dict[str, Any]:
        """Begin a rollout; `queue` has the other candidates of a search, cheapest first. `search` is the rollout of the
        candidate before.

        Raises Conflict if the model has an open rollout or a variant was removed since the plan was read, InputError if
        there is no traffic to move."""
        for name in (parent, plan.variant):
            if (model, name) not in self.snapshot.variants:
                raise Conflict(f"{model}@{name} is no longer served")
        current = self.state.rollouts.get(model)
        if current is not None and current.open:
            raise Conflict(
                f"a rollout to {current.plan.variant} is in progress at {current.doing}",
                mend=f"wait for it, or end it: understudy rollout abort {model}",
            )
        traffic = self.state.traffic[model].traffic
        if current is not None and current.watched:  # its watch ends with this rollout
            traffic = replace(current, watched=False).traffic()
        line = compressions_of(self.snapshot.stack.models[model].variants, plan.variant)
        source = source_of(traffic.weights, line)
        check_card(self.cards.beside(model, parent, plan), plan)
        names = (parent, plan.compared(parent))
        both = [self.snapshot.variants[model, name] for name in names]
        rivals = rivals_of(self.snapshot, model, parent, plan.variant, queue)
        rollout = Rollout(
            plan,
            parent,
            (both[0].manifest.digest, both[1].manifest.digest),
            before=traffic,
            why=f"begun by {who}" + (f", against the card: {plan.against_card}" if plan.against_card else ""),
            queue=queue,
            engines=engines_hash(*both),
            source=source,
            source_digest=self.snapshot.variants[model, source].manifest.digest,
            began=self.state.traffic[model].version + 1,
            began_at=time.time(),
            rivals=rivals,
            follows=search is not None and search.rivals.get(plan.variant) == evidence_key(*both),
        )
        engines = {name: engine_document(served) for name, served in zip(names, both, strict=True)}
        self.move(model, rollout, who, None, {"around": around(engines)})
        return self.rollout_of(model)

    def plan_search(self, model: str, document: dict[str, Any]) -> tuple[RolloutPlan, str, tuple[str, ...]]:
        """The plan for the cheapest candidate, its parent, and the other candidates, cheapest first. Raises
        UnknownName, InputError."""
        return self.cards.plan_search(model, self.model(model), document)

    def steer(self, model: str, action: str, who: str, why: str = "") -> dict[str, Any]:
        """Pause, resume or abort. Raises InputError for another action, Conflict if the status does not allow it."""
        self.model(model)
        rollout = self.state.rollouts.get(model)
        wanted = {"pause": ("running", "paused"), "resume": ("paused", "running"), "abort": (None, "aborted")}.get(
            action
        )
        if wanted is None:
            raise InputError(f"unknown action {action!r}", field="action", mend="use pause, resume or abort")
        if rollout is None or not rollout.open:
            raise Conflict(f"{model} has no open rollout")
        if wanted[0] not in (None, rollout.status):
            raise Conflict(f"the rollout of {model} is {rollout.status}")
        why = f"{action} by {who}{': ' if why else ''}{why}"
        self.move(model, replace(rollout, status=wanted[1], why=why), who, None)  # type: ignore[arg-type]
        return self.rollout_of(model)

    def move(
        self, model: str, rollout: Rollout, who: str, verdict: Verdict | None, beside: dict[str, Any] | None = None
    ) -> None:
        """Write one entry: the rollout, the reason, and the traffic that follows from it.

        `beside` is what else it tells; without it, what was compared so far and what was not."""
        current, before = self.state.traffic[model], self.state.rollouts.get(model)
        following = Versioned(current.version + 1, rollout.traffic(), current.declared)
        entry = {"model": model, "who": who, "why": rollout.why, **following.to_json(), "rollout": rollout.to_json()}
        entry |= beside or {"account": account(self.rollout_of(model))}
        write = self.write_when_possible if rollout.status == "rolled back" else self.write
        write(("rollout", entry | ({"verdict": verdict_document(verdict)} if verdict else {})))
        if before is None or before.moment != rollout.moment:
            self.held_since[model] = time.monotonic()
        self.show()

    def count(self, ingress: str, batch: ObservationBatch) -> None:
        """Count a batch of an ingress once. A batch that cannot be counted is recorded as empty: otherwise the ingress
        would send it for ever, and receive no new snapshot."""
        if batch["number"] <= self.state.batches.get(ingress, 0):
            return
        try:
            self.write(("outcomes", {"ingress": ingress, **batch}))
        except UnderstudyError:
            raise
        except Exception:
            log.exception("batch %d of ingress %s cannot be counted", batch["number"], ingress)
            self.write(("outcomes", {"ingress": ingress, **batch, "models": {}}))

    def count_when_possible(self, ingress: str, batch: ObservationBatch) -> None:
        """Count a batch even on a full disk: an ingress that gets no answer would not learn of a roll-back."""
        if batch["number"] > self.state.batches.get(ingress, 0):
            self.write_when_possible(("outcomes", {"ingress": ingress, **batch}))

    def judge_all(self) -> None:
        """Carry out what the evidence decides, by model. An error of one model is logged, and tried again later."""
        self.write_pending()
        for model, rollout in list(self.state.rollouts.items()):
            try:
                if model in self.snapshot.stack.models:
                    self.judge_one(model, rollout)
            except UnderstudyError as error:
                log.warning("the verdict on %s could not be recorded: %s", model, error, extra={"model": model})
            except Exception:  # a defect in one model must not prevent the rollback of another
                log.exception("%s could not be judged", model, extra={"model": model})

    def judge_one(self, model: str, rollout: Rollout) -> None:
        """Raises Conflict, StoreFull if the journal cannot be written."""
        if rollout.status in ("rolled back", "undecided") and rollout.queue:
            self.try_next(model, rollout)
        elif rollout.status == "running" or rollout.watched:
            verdict = self.verdict(model, rollout)
            held = time.monotonic() - self.held_since.setdefault(model, time.monotonic())
            moved = next_of(rollout, verdict, held, self.state.pair(rollout.pair).compared, time.time())
            if moved is not rollout:
                self.move(model, moved, "evidence", verdict)
            else:
                self.note_progress(model, verdict_document(verdict))
                self.drop_rivals(model, rollout)

    def drop_rivals(self, model: str, rollout: Rollout) -> None:
        """End the replays on candidates that are proven worse already. Each has an alpha of its own."""
        harm = {
            name: verdict.harm
            for name, verdict in self.rivals(rollout).items()
            if rollout.open and verdict.decision == "roll back"
        }
        if harm:
            said = "; ".join(f"{name} leaves the search: {', '.join(what)} proven worse" for name, what in harm.items())
            self.move(model, rollout.without(harm, said), "evidence", None)

    def rivals(self, rollout: Rollout) -> dict[str, Verdict]:
        """The verdicts on the candidates of a search that wait, by what is known while they answer no client."""
        context = Context(
            floor_by=rollout.plan.by,
            leave_out=UNKNOWABLE,
            phases=len(rollout.plan.steps) + (rollout.plan.watch_s > 0),
        )
        return {
            name: judge(rollout.plan.gate, self.state.pair(pair).evidence, context)
            for name, pair in rollout.rivals.items()
        }

    def try_next(self, model: str, rollout: Rollout) -> None:
        """Continue a search with its next candidate that is still served, or end it if there is none."""
        left = [name for name in rollout.queue if (model, name) in self.snapshot.variants]
        why = "no other candidate is served"
        while left and (model, rollout.parent) in self.snapshot.variants:
            variant = left.pop(0)
            try:
                plan = rollout.plan.model_copy(update={"variant": variant})
                self.begin(model, plan, rollout.parent, "evidence", tuple(left), rollout)
            except InputError as error:
                why = str(error)
            else:
                return
        rollout = replace(rollout, queue=(), why=f"{rollout.why}; {why}")
        self.write(ended(model, rollout, self.state.traffic[model]))

    def verdict(self, model: str, rollout: Rollout) -> Verdict:
        """Judge a rollout by the evidence about its two artifacts so far."""
        gate = rollout.plan.gate
        evidence = self.state.pair(rollout.pair).judged_by(gate)
        if gate.feedback:
            evidence.tallies["feedback"] = self.state.feedback_on(rollout.digests[1])
        return judge(gate, evidence, self.context_of(model, rollout))

    def context_of(self, model: str, rollout: Rollout) -> Context:
        """What is known of a rollout besides its outcomes."""
        plan = rollout.plan
        names = [plan.variant, rollout.parent]
        variant, parent = self.cards.costs_of(model, names).values() if plan.gate.cost else (0, None)
        card = self.cards.at_begin(model, rollout)
        return Context(
            floor_by=plan.by,
            leave_out=unknowable(rollout),
            serves=plan.steps[rollout.step] != "shadow",
            last=rollout.step + 1 == len(plan.steps),
            alone=self.state.traffic[model].traffic.weights.get(rollout.source or rollout.parent, 0) == 0,
            costs=None if variant is None or parent is None else (variant, parent),
            contrast_on_card=card.contrast,
            bets=card.bets(plan.gate.quality),
            harm_bets=card.harm_bets(plan.gate.quality),
            phases=len(plan.steps) + (plan.watch_s > 0),
            attempt=1 if plan.aa else self.state.attempts.get(f"{model}@{plan.variant}", 1),
        )

    def rollout_of(self, model: str) -> dict[str, Any]:
        """The latest rollout of a model, with its current verdict. Raises UnknownName."""
        self.model(model)
        rollout = self.state.rollouts.get(model)
        if rollout is None:
            return {"model": model, "rollout": None}
        pair, record = self.state.pair(rollout.pair), self.state.history.latest(model)
        card, context = self.cards.at_begin(model, rollout), self.context_of(model, rollout)
        return {
            "model": model,
            "id": record.id if record else None,
            "rollout": rollout.to_json() | {"doing": rollout.doing},
            "verdict": verdict_document(self.verdict(model, rollout)),
            "card": card.to_json(pair.evidence.quality.differences(), rollout.plan.gate.alpha_each),
            **pair.to_json(),
            "rivals": {name: rival_document(verdict) for name, verdict in self.rivals(rollout).items()},
            "attempt": {
                "number": context.attempt,
                "alpha_to_promote": promotion_alpha(rollout.plan.gate, context),
            },
            "traffic": self.traffic_of(model),
            "on_disk": self.is_on_disk(model),
        }

    def rollouts_of(self, model: str) -> dict[str, Any]:
        """Every rollout of a model, the latest first. Raises UnknownName."""
        self.model(model)
        return {"model": model, "rollouts": [summary(record) for record in reversed(self.state.history.of(model))]}

    def rollout_document(self, model: str, name: str) -> dict[str, Any]:
        """One rollout as a document. Raises UnknownName."""
        self.model(model)
        record = by_id(self.state.history.of(model), model, name)
        is_judged = record is self.state.history.latest(model) and self.state.rollouts[model].counts
        return document(record, self.rollout_of(model) if is_judged else None, self.journal.seq)

    def feedback(self, document: dict[str, Any], owner: str | None, client: str | None) -> dict[str, Any]:
        """Count a score for the answer with that id, only the first time. One client brings at most its share of an
        artifact's scores. Raises InputError."""
        entry = check_feedback(document)
        key = (self.snapshot.stack.server.keys or {}).get(owner or "")
        if key is None or not key.is_trusted_to_label:
            entry["client"] = hash_keys(home()).client_of(owner, client)
        counted = entry["id"] not in self.state.feedback_ids
        if counted:
            self.write(("feedback", entry))
        return {"counted": counted, "model": entry["model"], "variant": entry["variant"]}


def verdict_document(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "different": verdict.different,
        "findings": [dict(vars(finding)) for finding in verdict.findings],
        "missing": list(verdict.missing),
        "harm": list(verdict.harm),
        "segments": [dict(vars(segment)) for segment in verdict.segments],
    }
