"""The journal entries for a new stack: what happens to the traffic and rollouts of the stack before it. Pure.

Traffic that the new stack declares differently is in force at once, and ends the model's rollout. A rollout also ends
if one of its builds is no longer served; then the model gets back the traffic from before the rollout.
"""

from dataclasses import replace

from serve.config.evidence_key import engines_hash
from serve.config.lineage import root_of
from serve.config.snapshot import Snapshot
from serve.config.traffic import Versioned
from serve.control.journal import Entry
from serve.control.rollout import Rollout
from serve.control.state import ControlState


def carried_over(state: ControlState, snapshot: Snapshot, why: str) -> list[tuple[str, Entry]]:
    """The journal entries, each with its kind, for a stack that takes effect."""
    entries = (_of_model(state, snapshot, model, why) for model in {**snapshot.traffic, **state.rollouts})
    return [entry for entry in entries if entry is not None]


def ended(model: str, rollout: Rollout, traffic: Versioned) -> tuple[str, Entry]:
    """The entry for a rollout that has ended, with the traffic in force from now on."""
    return "rollout", {"model": model, "who": "conductor", **traffic.to_json(), "rollout": rollout.to_json()}


def _of_model(state: ControlState, snapshot: Snapshot, model: str, why: str) -> tuple[str, Entry] | None:
    current, rollout = state.traffic.get(model), state.rollouts.get(model)
    following = snapshot.traffic.get(model, current)
    assert following is not None
    if rollout is not None and rollout.counts:
        if following != current:
            return ended(model, _stopped(rollout, f"{why}: it declares other traffic"), following)
        if not _is_live(snapshot, model, rollout):
            by_others = "an earlier version of the server began it, and counted its evidence by other rules"
            stopped = _stopped(
                rollout, "one of its builds or engines is no longer live" if rollout.engines else by_others
            )
            return ended(model, stopped, Versioned(following.version + 1, stopped.traffic(), following.declared))
    elif following != current:
        return "traffic", {"model": model, "who": "stack", "why": why, **following.to_json()}
    return None


def _stopped(rollout: Rollout, why: str) -> Rollout:
    """A rollout that another stack ended. One that was promoted stays promoted, and is no longer watched."""
    if rollout.watched:
        return replace(rollout, watched=False, why=why)
    return replace(rollout, status="aborted", why=why)


def _is_live(snapshot: Snapshot, model: str, rollout: Rollout) -> bool:
    if (model, rollout.plan.variant) not in snapshot.variants:
        return False
    if rollout.parent != root_of(snapshot.stack.models[model].variants, rollout.plan.variant):
        return False
    refs = ((model, rollout.parent), (model, rollout.plan.compared(rollout.parent)))
    served = [snapshot.variants[ref] for ref in refs if ref in snapshot.variants]
    if [each.manifest.digest for each in served] != list(rollout.digests):
        return False
    source = snapshot.variants.get((model, rollout.source))
    if rollout.source and (source is None or source.manifest.digest != rollout.source_digest):
        return False
    return rollout.engines == engines_hash(*served)
