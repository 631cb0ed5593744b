"""What a stack that takes effect means for the traffic and the rollouts that the one before it left: what is to be
written down, and nothing else. Pure.

Traffic that a stack declares anew is in force at once. A rollout ends where its traffic was declared anew, or where one
of its builds is no longer live; then its model has the traffic of before it again.
"""

from dataclasses import replace

from serve.config.snapshot import Snapshot
from serve.config.traffic import Versioned
from serve.control.journal import Entry
from serve.control.rollout import Rollout
from serve.control.state import ControlState


def carried_over(ledger: ControlState, snapshot: Snapshot, why: str) -> list[tuple[str, Entry]]:
    """The journal's entries, by kind, for a stack that is live from now on."""
    found = (_of_model(ledger, snapshot, model, why) for model in {**snapshot.traffic, **ledger.rollouts})
    return [entry for entry in found if entry is not None]


def ended(model: str, rollout: Rollout, traffic: Versioned) -> tuple[str, Entry]:
    """One entry: where a rollout came to, and the traffic that is in force from now on."""
    return "rollout", {"model": model, "who": "conductor", **traffic.to_json(), "rollout": rollout.to_json()}


def _of_model(ledger: ControlState, snapshot: Snapshot, model: str, why: str) -> tuple[str, Entry] | None:
    standing, rollout = ledger.traffic.get(model), ledger.rollouts.get(model)
    found = snapshot.traffic.get(model, standing)
    assert found is not None
    if rollout is not None and rollout.open:
        if found != standing:
            return ended(model, replace(rollout, status="aborted", why=f"{why}: it declares other traffic"), found)
        if not _is_live(snapshot, model, rollout):
            before = Versioned(found.version + 1, rollout.before, found.declared)
            return ended(model, replace(rollout, status="aborted", why="one of its builds is no longer live"), before)
    elif found != standing:
        return "traffic", {"model": model, "who": "stack", "why": why, **found.to_json()}
    return None


def _is_live(snapshot: Snapshot, model: str, rollout: Rollout) -> bool:
    names = ((model, rollout.parent), (model, rollout.plan.variant))
    found = [snapshot.variants[name].manifest.digest for name in names if name in snapshot.variants]
    return found == list(rollout.digests)
