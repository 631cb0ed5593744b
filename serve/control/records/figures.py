"""Figures of the controller for `/metrics`: its rollouts, its journal, its disk, and the ingresses that it hears.

Every ingress asks for them (`serve.dataplane.sync`), because the controller has no HTTP server. They are the
controller's state, so every ingress shows the same.
"""

import shutil
from collections.abc import Iterator

from serve.control.contract import ControllerFigures, RolloutFigures
from serve.control.heartbeats import Heartbeats
from serve.control.rollout import Rollout
from serve.control.traffic_manager import TrafficManager


def figures(manager: TrafficManager, heartbeats: Heartbeats) -> ControllerFigures:
    """Raises OSError if the journal cannot be read."""
    version, heard = manager.snapshot.version, heartbeats.heard()
    file = manager.journal.file
    return ControllerFigures(
        version=version,
        ingresses=len(heard),
        behind=sum(heartbeat.version < version for heartbeat in heard),
        journal_bytes=file.stat().st_size,
        free_bytes=shutil.disk_usage(file.parent).free,
        rollouts=tuple(rollouts(manager)),
    )


def rollouts(manager: TrafficManager) -> Iterator[RolloutFigures]:
    """The latest rollout of each model that is served, if it is open, watched or over."""
    for model, rollout in manager.state.rollouts.items():
        if model in manager.snapshot.stack.models and (model, rollout.plan.variant) in manager.snapshot.variants:
            yield rollout_figures(manager, model, rollout)


def rollout_figures(manager: TrafficManager, model: str, rollout: Rollout) -> RolloutFigures:
    """Bounds only while evidence counts: afterwards they are in the rollout's document."""
    pair = manager.state.pair(rollout.pair)
    verdict = manager.verdict(model, rollout) if rollout.counts else None
    return RolloutFigures(
        model=model,
        variant=rollout.plan.variant,
        status=rollout.status,
        decision=verdict.decision if verdict else "",
        compared=pair.compared,
        ratio_broken=pair.evidence.assignments.is_broken(),
        findings=verdict.findings if verdict else (),
    )
