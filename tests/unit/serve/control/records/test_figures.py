"""What the controller says of itself for `/metrics`."""

from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from serve.api.controller_metrics import NAMES, ControllerMetrics
from serve.config.snapshot import ServedVariant, Snapshot
from serve.control.contract import ControllerClient, Heartbeat
from serve.control.heartbeats import Heartbeats
from serve.control.records.figures import figures
from serve.control.rollout import read_plan
from serve.control.traffic_manager import TrafficManager
from serve.dataplane.observations import Observations
from serve.dataplane.sync import ControllerSync
from serve.dataplane.upstreams import Upstreams
from serve.engines.endpoint import Describe


@pytest.fixture
def manager(tmp_path: Path, snapshot: Snapshot) -> TrafficManager:
    return TrafficManager(tmp_path / "state", snapshot)


def no_deployment(variant: ServedVariant) -> Describe:
    raise AssertionError(f"{variant.name} is described")


def heard(version: int, *behind: str) -> Heartbeats:
    heartbeats = Heartbeats()
    for name in ("first", "second"):
        heartbeats.note(Heartbeat(name, version - (name in behind), frozenset(), {}))
    return heartbeats


def begin(manager: TrafficManager, gate: dict[str, object]) -> None:
    plan, parent = read_plan({"variant": "int8", "gate": gate}, manager.model("echo"), "echo")
    manager.begin("echo", plan, parent, "somebody")


def test_ingresses_behind_are_counted(manager: TrafficManager) -> None:
    version = manager.snapshot.version
    now = figures(manager, heard(version, "second"))
    assert (now.version, now.ingresses, now.behind) == (version, 2, 1)
    assert now.journal_bytes == manager.journal.file.stat().st_size > 0
    assert now.free_bytes > 0
    assert not now.rollouts


def test_an_open_rollout_has_bounds_and_an_ended_one_has_none(manager: TrafficManager) -> None:
    begin(manager, {"quality": 0.02, "errors": 0.05})
    (rollout,) = figures(manager, heard(manager.snapshot.version)).rollouts
    assert (rollout.model, rollout.variant, rollout.status) == ("echo", "int8", "running")
    assert rollout.decision == "inconclusive"
    assert {finding.metric for finding in rollout.findings} == {"quality", "errors"}
    manager.steer("echo", "abort", "somebody")
    (rollout,) = figures(manager, heard(manager.snapshot.version)).rollouts
    assert (rollout.status, rollout.decision, rollout.findings) == ("aborted", "", ())


def test_metrics_say_what_the_figures_say(manager: TrafficManager) -> None:
    begin(manager, {"quality": 0.02})
    sync = ControllerSync(Upstreams(manager.snapshot, no_deployment), cast(ControllerClient, None), Observations())
    sync.figures, sync.answered_at = figures(manager, heard(manager.snapshot.version)), 7.0
    registry = CollectorRegistry()
    registry.register(ControllerMetrics(sync))
    here = {"model": "echo", "variant": "int8"}
    assert registry.get_sample_value("understudy_controller_answered_timestamp_seconds") == 7
    assert registry.get_sample_value("understudy_objective", {"model": "echo", "objective": "availability"}) == 0.99
    assert registry.get_sample_value("understudy_rollout_status", here | {"status": "running"}) == 1
    assert registry.get_sample_value("understudy_rollout_status", here | {"status": "rolled back"}) == 0
    assert (
        registry.get_sample_value("understudy_rollout_bound", here | {"metric": "quality", "bound": "limit"}) == -0.02
    )
    assert registry.get_sample_value("understudy_rollout_bound", here | {"metric": "quality", "bound": "mean"}) is None
    assert {metric.name for metric in registry.collect()} == set(NAMES)
