"""A declared rollout begins once for its plan and its artifacts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve.config.loader import parse
from serve.config.snapshot import Snapshot, build_snapshot
from serve.control.records.declared import DeclaredRollouts, check_declared, describe_declared
from serve.control.rollout import read_plan
from serve.control.traffic_manager import TrafficManager
from serve.errors import NotReady
from tests.support.family import Family
from variants.errors import InputError, StackError

PLAN: dict[str, Any] = {"variant": "int8", "steps": ["shadow", 50, 100], "gate": {"quality": 0.05}}


def declares(family: Family, plan: dict[str, Any] | None) -> None:
    """The family's stack from now on."""
    document = family.stack.model_dump(mode="json", by_alias=True)
    document["models"]["echo"]["rollout"] = plan
    family.base = parse(document)


def snapshot(family: Family) -> Snapshot:
    return build_snapshot(family.stack, family.artifacts)


class Beginner:
    """Begins as the controller does, without engines. `errors` are raised first."""

    def __init__(self, manager: TrafficManager) -> None:
        self.manager, self.errors, self.asked = manager, list[Exception](), 0
        self.declared = DeclaredRollouts(self.begin)

    async def begin(self, model: str, document: dict[str, Any], who: str) -> None:
        self.asked += 1
        if self.errors:
            raise self.errors.pop(0)
        plan, parent = read_plan(document, self.manager.model(model), model)
        self.manager.begin(model, plan, parent, who)

    async def tick(self) -> list[str]:
        """One look. Gives the status of every rollout, oldest first."""
        history = self.manager.state.history
        self.declared.begin_due(self.manager.snapshot, history)
        if self.declared.task:
            await asyncio.wait([self.declared.task])
        return [record.status for record in history.of("echo")]


async def test_it_begins_once(tmp_path: Path, family: Family) -> None:
    declares(family, PLAN)
    manager = TrafficManager(tmp_path / "state", snapshot(family))
    beginner = Beginner(manager)
    assert await beginner.tick() == ["running"]
    assert manager.rollouts_of("echo")["rollouts"][0]["who"] == "stack"
    manager.steer("echo", "abort", "ops")
    assert await beginner.tick() == ["aborted"]
    again = Beginner(TrafficManager(tmp_path / "state", snapshot(family)))
    assert await again.tick() == ["aborted"]
    assert again.asked == 0


async def test_another_plan_or_another_build_begins_anew(tmp_path: Path, family: Family) -> None:
    declares(family, PLAN)
    manager = TrafficManager(tmp_path / "state", snapshot(family))
    beginner = Beginner(manager)
    await beginner.tick()
    manager.steer("echo", "abort", "ops")
    declares(family, PLAN | {"shadow": 0.5})
    manager.replace(snapshot(family))
    assert await beginner.tick() == ["aborted", "running"]
    family.builds["int8"] = 2
    manager.replace(snapshot(family))
    assert await beginner.tick() == ["aborted", "aborted", "running"]


async def test_it_waits_for_an_open_rollout_and_for_the_variants(tmp_path: Path, family: Family) -> None:
    manager = TrafficManager(tmp_path / "state", snapshot(family))
    beginner = Beginner(manager)
    assert await beginner.tick() == []
    plan, parent = read_plan(PLAN | {"shadow": 0.9}, manager.model("echo"), "echo")
    manager.begin("echo", plan, parent, "ops")
    declares(family, PLAN)
    manager.replace(snapshot(family))
    assert await beginner.tick() == ["running"]
    assert beginner.asked == 0
    manager.steer("echo", "abort", "ops")
    beginner.errors = [NotReady("int8 does not answer")]
    assert await beginner.tick() == ["aborted"]
    assert await beginner.tick() == ["aborted", "running"]


async def test_what_is_refused_is_told_once(
    tmp_path: Path, family: Family, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise InputError("int8 is proven worse on its card than the gate allows", field="variant")

    monkeypatch.setattr("serve.control.traffic_manager.check_card", refuse)
    declares(family, PLAN)
    beginner = Beginner(TrafficManager(tmp_path / "state", snapshot(family)))
    for _ in range(3):
        assert await beginner.tick() == []
    assert beginner.asked == 1
    assert caplog.text.count("the declared rollout of echo is refused") == 1


def test_a_proposal_tells_what_begins(tmp_path: Path, family: Family) -> None:
    declares(family, PLAN)
    manager = TrafficManager(tmp_path / "state", snapshot(family))
    (told,) = describe_declared(manager.snapshot, manager.state.history)
    assert told == {
        "model": "echo", "variant": "int8", "steps": ["shadow", 50.0, 100.0], "begins": True, "before": None
    }  # fmt: skip
    plan, parent = read_plan(PLAN, manager.model("echo"), "echo")
    manager.begin("echo", plan, parent, "ops")
    (told,) = describe_declared(manager.snapshot, manager.state.history)
    assert (told["begins"], told["before"]) == (False, {"id": "r-2", "status": "running"})


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({"variant": "int9"}, r"^models\.echo\.rollout\.variant: echo has no variant 'int9'"),
        ({"variant": "baseline"}, r"^models\.echo\.rollout\.variant: baseline has no parent"),
        (PLAN | {"setps": []}, r"^models\.echo\.rollout\.setps: unknown key 'setps'"),
        (PLAN | {"steps": [50, 10]}, r"^models\.echo\.rollout"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_with_its_place(family: Family, plan: dict[str, Any], says: str) -> None:
    declares(family, plan)
    with pytest.raises(StackError, match=says):
        check_declared(family.stack)
