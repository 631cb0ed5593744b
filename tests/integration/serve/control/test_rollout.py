"""Rollouts move traffic by evidence: shadow pairs of live requests, a gate, steps, and a journal that restores them."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.cli.rollout_text import describe_rollout
from serve.config.snapshot import build_snapshot
from serve.control.journal import Journal
from serve.control.state import ControlState
from serve.control.traffic_manager import TrafficManager
from serve.ports import free_port
from tests.support.family import ADAPTERS, Family, change
from tests.support.labelled_load import labelled
from tests.support.local_stage import Local, local
from variants.artifacts.card import Card
from variants.artifacts.catalog import Catalog
from variants.machine import describe

pytestmark = pytest.mark.integration
ROLLOUT = "/admin/v1/models/echo/rollout"
GUARD = {"errors": 0.2, "latency": None, "block_s": 1, "least": 20}
"""A guard that needs seconds instead of minutes."""
LIMIT_S = 90.0
"""Detects a hang; it is no limit on speed."""


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


def family_of(home: Path, **int8: Any) -> Family:
    """`int8` are settings of that variant's engine."""
    family = Family(home, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted", **int8}},
    }
    return family


def plan(**more: Any) -> dict[str, Any]:
    return {
        "variant": "int8",
        "steps": ["shadow", 10, 50, 100],
        "shadow": 1.0,
        "hold_s": 0.5,
        "watch_s": 0,
        "gate": {"quality": 0.05, "errors": 0.05, "latency": {"objective_s": 5.0, "share": 0.5}, "guard": GUARD},
        **more,
    }


async def until(client: httpx.AsyncClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + LIMIT_S
    while True:
        answer: dict[str, Any] = (await client.get(ROLLOUT)).json()
        if wanted(answer):
            return answer
        assert time.monotonic() < deadline, describe_rollout(answer)
        await asyncio.sleep(0.1)


def ended(answer: dict[str, Any]) -> bool:
    return answer["rollout"]["status"] not in ("running", "paused")


def settled(answer: dict[str, Any]) -> bool:
    """Every chosen request has come to something."""
    pairs = answer["pairs"]
    return pairs["chosen"] == pairs["compared"] + pairs["skipped"] + pairs["over_share"] + sum(pairs["lost"].values())


def same_again(home: Path, family: Family, answer: dict[str, Any]) -> None:
    """Another controller restores the same state from the journal alone."""
    traffic_manager = TrafficManager(home / "state", build_snapshot(family.stack, family.artifacts))
    again = traffic_manager.rollout_of("echo")
    assert again["rollout"] == answer["rollout"]
    assert again["pairs"] == answer["pairs"]
    assert again["verdict"] == answer["verdict"]
    assert again["traffic"]["traffic"] == answer["traffic"]["traffic"]


async def test_a_variant_as_good_as_its_parent_takes_over_by_itself(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        begun = await served.client.post(ROLLOUT, json=plan())
        assert begun.status_code == 200, begun.text
        assert begun.json()["rollout"]["doing"] == "shadow"
        assert begun.json()["traffic"]["traffic"]["shadows"] == {"int8": 1.0}
        await until(served.client, ended)
        await asyncio.sleep(1)
        load.stopping = True
        answer = await until(served.client, settled)
        entries = (await served.client.get("/admin/v1/journal?last=10000")).json()["entries"]
    assert answer["rollout"]["status"] == "promoted"
    assert answer["traffic"]["shares"] == {"baseline": 0.0, "int8": 1.0}
    assert answer["traffic"]["traffic"]["shadows"] == {}
    steps = [entry["rollout"]["step"] for entry in entries if entry["kind"] == "rollout"]
    assert steps == [0, 1, 2, 3, 3]
    assert all(entry["verdict"]["decision"] == "promote" for entry in entries if "verdict" in entry)
    assert set(load.statuses) == {200}
    assert load.variants["int8"] > 0
    same_again(tmp_path, family, answer)


async def test_a_variant_that_errs_is_rolled_back_by_itself(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.4)
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        await served.client.post(ROLLOUT, json=plan())
        await until(served.client, ended)
        load.stopping = True
        await asyncio.sleep(1.5)
        answer = await until(served.client, settled)
    assert answer["rollout"]["status"] == "rolled back"
    assert "quality" in answer["rollout"]["why"]
    assert answer["traffic"]["shares"] == {"baseline": 1.0, "int8": 0.0}
    quality = answer["verdict"]["findings"][0]
    assert quality["high"] < -0.05
    assert quality["value"] == pytest.approx(-0.4, abs=0.15)
    assert set(load.statuses) == {200}
    assert load.variants["int8"] == 0  # it answered no client
    same_again(tmp_path, family, answer)


async def test_a_controller_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan(gate={"quality": 0.001}))
        async with labelled(str(served.client.base_url), "echo", 2) as load:
            await until(served.client, lambda answer: answer["pairs"]["compared"] > 20)
        assert set(load.statuses) == {200}
        await until(served.client, settled)
        await asyncio.sleep(2)
        before = (await served.client.get(ROLLOUT)).json()
        dead = served.controller.traffic_manager
        served.controller.traffic_manager = TrafficManager(
            tmp_path / "state", build_snapshot(family.stack, family.artifacts)
        )
        after = (await served.client.get(ROLLOUT)).json()
        assert {**after, "traffic": None} == {**before, "traffic": None}
        with pytest.raises(Exception, match="another controller has taken over"):
            dead.steer("echo", "pause", "a ghost")
        async with labelled(str(served.client.base_url), "echo", 2):
            await until(served.client, lambda answer: answer["pairs"]["compared"] > before["pairs"]["compared"])
    entries = list(Journal(tmp_path / "state").entries())
    state = ControlState.read(entries)
    twice = ControlState.read([*entries, *(entry for entry in entries if entry["kind"] == "outcomes")])
    assert state.pairs == twice.pairs


async def test_an_outage_of_one_variant_is_no_fault_of_the_router(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    family.variants["int8"]["weight"] = 1
    async with local(tmp_path, family.stack, family.artifacts) as served:
        await served.client.post(ROLLOUT, json=plan(steps=[50, 100], hold_s=600.0))
        async with labelled(str(served.client.base_url), "echo", 4) as load:
            await until(served.client, lambda answer: answer["assignments"]["seen"].get("int8", 0) > 20)
            await served.engine("echo", "int8").stop()
            answered = sum(load.statuses.values())
            while sum(load.statuses.values()) < answered + 400:
                await asyncio.sleep(0.1)
        assert load.statuses.total() - load.statuses[200] <= 4, "only open requests to the engine fail"
        answer = await until(served.client, lambda answer: answer["assignments"]["seen"]["baseline"] > 0)
        assert answer["assignments"]["broken"] is False
        assert sum(answer["assignments"]["seen"].values()) < answered + 200


async def test_a_stack_with_other_traffic_ends_a_rollout_and_all_goes_on(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        client = served.client
        await client.post(ROLLOUT, json=plan(steps=[50, 100], hold_s=600.0))
        async with labelled(str(client.base_url), "echo", 2) as load:
            family.variants["int4"] = {"weight": 1, "parent": "baseline", "engine": {"kind": "scripted"}}
            assert (await change(client, family.proposal()))["state"] == "done"
            answer = (await client.get(ROLLOUT)).json()
            assert (answer["rollout"]["status"], answer["traffic"]["shares"]["int4"]) == ("aborted", 0.5)
            again = await client.post(ROLLOUT, json=plan(variant="int4", steps=[50, 100], hold_s=0.5))
            assert again.status_code == 200, again.text
            await until(client, ended)
        assert set(load.statuses) == {200}


async def test_pause_resume_abort(serving: Local) -> None:
    client = serving.client
    assert (await client.post(ROLLOUT, json=plan())).status_code == 200
    second = await client.post(ROLLOUT, json=plan())
    assert second.status_code == 409
    assert "in progress" in second.json()["error"]["message"]
    moved = await client.put(
        "/admin/v1/models/echo/traffic", json={"weights": {"baseline": 1, "int8": 1}}, headers={"if-match": "*"}
    )
    assert moved.status_code == 409
    assert (await client.post(f"{ROLLOUT}/resume")).status_code == 409
    assert (await client.post(f"{ROLLOUT}/pause")).json()["rollout"]["status"] == "paused"
    assert (await client.post(f"{ROLLOUT}/resume")).json()["rollout"]["status"] == "running"
    answer = (await client.post(f"{ROLLOUT}/abort")).json()
    assert answer["rollout"]["status"] == "aborted"
    assert answer["traffic"]["traffic"]["shadows"] == {}
    assert (await client.post(f"{ROLLOUT}/abort")).status_code == 409
    assert (await client.post(f"{ROLLOUT}/dance")).status_code == 400


async def test_no_data_is_never_a_pass(serving: Local) -> None:
    await serving.client.post(ROLLOUT, json=plan(hold_s=0.0))
    await asyncio.sleep(2.5)
    answer = (await serving.client.get(ROLLOUT)).json()
    assert answer["rollout"]["step"] == 0
    assert answer["verdict"]["decision"] == "inconclusive"
    assert answer["verdict"]["missing"] == [
        "quality: no outcome yet",
        "errors: no outcome yet",
        "labels: no request yet whose answer was also scored by another request's label",
    ]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"variant": "int9"}, "variant"),
        ({"variant": "baseline"}, "variant"),
        ({"gate": {"quality": 2.0}}, "gate.quality"),
        ({"steps": [50, 10]}, None),
        ({"steps": [10, "shadow"]}, None),
        ({"shadow": 0}, "shadow"),
        ({"setps": []}, "setps"),
    ],
)
async def test_refuses_a_plan_that_makes_no_sense(serving: Local, wrong: dict[str, Any], field: str | None) -> None:
    answer = await serving.client.post(ROLLOUT, json=plan(**wrong))
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == field
    assert (await serving.client.get(ROLLOUT)).json()["rollout"] is None


async def test_refuses_a_variant_that_is_not_ready(serving: Local) -> None:
    await serving.engine("echo", "int8").stop()
    answer = await serving.client.post(ROLLOUT, json=plan())
    assert answer.status_code == 503
    assert "int8 is not ready" in answer.json()["error"]["message"]


async def test_a_client_may_opt_out_and_pins_are_left_alone(serving: Local) -> None:
    await serving.client.post(ROLLOUT, json=plan())
    body = {"model": "echo", "prompt": "this is pos", "max_tokens": 1}
    label = {"x-understudy-label": "pos"}
    for headers in (label | {"x-understudy-shadow": "off"}, {}):
        await serving.client.post("/v1/completions", json={**body, "model": "echo@baseline"}, headers=label)
        await serving.client.post("/v1/completions", json=body, headers={**headers, "x-understudy-shadow": "off"})
    await asyncio.sleep(1.5)
    assert (await serving.client.get(ROLLOUT)).json()["pairs"]["chosen"] == 0
    await serving.client.post("/v1/completions", json=body, headers=label)
    await serving.client.post("/v1/completions", json=body, headers=label)
    answer = await until(serving.client, lambda answer: answer["pairs"]["compared"] == 2)
    assert (answer["pairs"]["chosen"], answer["pairs"]["distinct"]) == (2, 1)


async def test_an_adapter_is_never_judged_by_agreement(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    family.variants["lora"] = {"parent": "baseline", "engine": ADAPTERS}
    async with local(tmp_path, family.stack, family.artifacts) as served:
        assert (await served.client.post(ROLLOUT, json=plan(variant="lora"))).status_code == 200
        body = {"model": "echo", "prompt": "a b c", "max_tokens": 4}
        for _ in range(5):
            await served.client.post("/v1/completions", json=body)
        await asyncio.sleep(1.5)
        assert (await served.client.get(ROLLOUT)).json()["pairs"]["chosen"] == 0


@pytest.fixture
async def serving(tmp_path: Path) -> Any:
    family = family_of(tmp_path, errs=0.0)
    async with local(tmp_path, family.stack, family.artifacts) as served:
        yield served


def add_cost(home: Path, family: Family, variant: str, seconds: float) -> None:
    card = Card(
        digest=family.digest(variant),
        hardware=describe(),
        precision="f32",
        versions={},
        cost_cpu_s=seconds,
        artifact_bytes=1,
        engine=family.stack.models["echo"].variants[variant].engine.model_dump(mode="json"),
        measured_by="a test",
        created=datetime.now(UTC),
    )
    catalog, artifact = Catalog(home), family.artifacts["echo", variant]
    catalog.record(artifact.manifest)
    catalog.add_card("echo", card)


async def test_ends_on_the_cheapest_that_keeps_the_floor(tmp_path: Path) -> None:
    family = family_of(tmp_path, errs=0.0)
    family.variants["int4"] = {
        "weight": 0, "parent": "baseline", "engine": {"kind": "scripted", "errs": 0.4},
    }  # fmt: skip
    family.variants["dear"] = {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}}
    search = {"objective": "cheapest", "quality_floor": 0.9, "shadow": 1.0, "hold_s": 0.2, "guard": GUARD, "watch_s": 0}
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        refused = await served.client.post(ROLLOUT, json=search)
        assert refused.status_code == 400
        assert "understudy evaluate" in refused.json()["error"]["message"]
        for variant, seconds in (("baseline", 9.0), ("int8", 5.0), ("int4", 3.0), ("dear", 12.0)):
            add_cost(tmp_path, family, variant, seconds)
        first = (await served.client.post(ROLLOUT, json=search)).json()["rollout"]
        assert (first["plan"]["variant"], first["queue"], first["plan"]["gate"]["alpha"]) == ("int4", ["int8"], 0.025)
        answer = await until(served.client, lambda answer: answer["rollout"]["status"] == "promoted")
        entries = (await served.client.get("/admin/v1/journal?last=10000")).json()["entries"]
    assert answer["rollout"]["plan"]["variant"] == "int8"
    assert answer["traffic"]["shares"] == {"baseline": 0.0, "int8": 1.0, "int4": 0.0, "dear": 0.0}
    tried = [(e["rollout"]["plan"]["variant"], e["rollout"]["status"]) for e in entries if e["kind"] == "rollout"]
    assert ("int4", "rolled back") in tried
    assert "dear" not in {variant for variant, _ in tried}
    assert set(load.statuses) == {200}


async def test_feedback_is_counted_once_and_cannot_be_forged(serving: Local) -> None:
    client = serving.client
    answer = await client.post("/v1/completions", json={"model": "echo", "prompt": "a", "max_tokens": 1})
    signed = answer.headers["x-understudy-id"]
    first = await client.post("/v1/feedback", json={"id": signed, "score": 1})
    assert first.json() == {"counted": True, "model": "echo", "variant": "baseline"}
    assert (await client.post("/v1/feedback", json={"id": signed, "score": 0})).json()["counted"] is False
    said, _, signature = signed.partition(".")
    for forged in (f"{said}x.{signature}", f"{said}.{signature[:-2]}AA", "nothing", ""):
        refused = await client.post("/v1/feedback", json={"id": forged, "score": 1})
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == "id"
    for score in (2, -1, "good", None, True):
        refused = await client.post("/v1/feedback", json={"id": signed, "score": score})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "score")
    assert 'understudy_feedback_total{model="echo",variant="baseline"} 1.0' in (await client.get("/metrics")).text


async def test_another_variant_follows_the_one_that_took_over(tmp_path: Path) -> None:
    """int8 serves. int4 takes its traffic, and is compared with the root parent, which has no clients."""
    family = family_of(tmp_path, errs=0.0)
    family.variants["baseline"]["weight"], family.variants["int8"]["weight"] = 0, 1
    family.variants["int4"] = {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}}
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        steps = plan(variant="int4", steps=["shadow", 50, 100], gate={"quality": 0.1, "guard": GUARD})
        begun = await served.client.post(ROLLOUT, json=steps)
        assert begun.status_code == 200, begun.text
        assert begun.json()["rollout"]["source"] == "int8"
        answer = await until(served.client, ended)
        load.stopping = True
    assert answer["rollout"]["status"] == "promoted", describe_rollout(answer)
    assert answer["traffic"]["shares"] == {"baseline": 0.0, "int8": 0.0, "int4": 1.0}
    assert answer["verdict"]["findings"][0]["n"] == answer["pairs"]["compared"] > 0
    assert set(load.statuses) == {200}


async def test_a_parent_that_is_compared_with_itself_passes_and_nothing_moves(tmp_path: Path) -> None:
    """The variant errs in half of its answers, and no replay asks it."""
    family = family_of(tmp_path, errs=0.5)
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        labelled(str(served.client.base_url), "echo", 4) as load,
    ):
        gate = {"quality": 0.05, "guard": None}
        comparison = {"variant": "int8", "steps": ["shadow"], "aa": True, "shadow": 1.0, "hold_s": 0.2, "gate": gate}
        assert (await served.client.post(ROLLOUT, json=comparison)).status_code == 200
        answer = await until(served.client, ended)
    assert answer["rollout"]["status"] == "promoted", describe_rollout(answer)
    assert answer["verdict"]["findings"][0]["value"] == 0
    assert answer["rollout"]["digests"][0] == answer["rollout"]["digests"][1]
    assert answer["attempt"]["number"] == 1
    assert answer["traffic"]["traffic"]["weights"] == {"baseline": 1, "int8": 0}
    assert answer["traffic"]["traffic"]["shadows"] == {}
    assert set(load.variants) == {"baseline"}
    assert "A/A" in describe_rollout(answer)
