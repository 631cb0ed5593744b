"""Variants are added and removed under load. No request fails, and each answer is signed by the build in service."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve.config.snapshot import build_snapshot
from serve.engines.endpoint import Endpoint
from serve.ports import free_port
from tests.support.family import ADAPTERS, Family, change
from tests.support.live_load import steady
from tests.support.local_stage import local
from tests.support.scripted import make_stack

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The controller reads the artifacts of this folder."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))


async def test_variants_are_added_replaced_and_removed_under_load(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        steady(str(served.client.base_url), "echo", 6, ("baseline",)) as load,
    ):
        first = family.digest("int8")
        family.variants["int4"] = {"weight": 50}
        assert (await change(served.client, family.proposal()))["state"] == "done"
        family.builds["int8"] = 1
        assert (await change(served.client, family.proposal()))["state"] == "done"
        second = family.digest("int8")
        models = (await served.client.get("/v1/models")).json()["data"]
        assert {model["id"] for model in models} >= {"echo@int4", "echo@int8"}
        pinned = await served.client.post(
            "/v1/completions", json={"model": f"echo@int8:{first[:8]}", "prompt": "a", "max_tokens": 1}
        )
        assert pinned.status_code == 404
        assert second[:8] in pinned.json()["error"]["message"]
        gone = set(served.deployer.engines)
        del family.variants["int4"]
        assert (await change(served.client, family.proposal(force=True)))["state"] == "done"
        assert len(gone - set(served.deployer.engines)) == 1
        assert (await served.client.post("/v1/completions", json={"model": "echo@int4"})).status_code == 404
        metrics = (await served.client.get("/metrics")).text
        await asyncio.sleep(1)
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert load.statuses[200] > 100
    assert {("int8", first), ("int8", second)} <= load.signed
    assert len({variant for variant, _ in load.signed}) == 3
    assert second in metrics  # variant_info of the build that is live, and of no other
    assert first not in metrics
    assert 'understudy_variant_ready{model="echo",variant="int4"}' not in metrics
    assert 'understudy_requests_total{model="echo",reason="weight",status="200",variant="int4"}' in metrics


async def test_adapters_are_loaded_and_unloaded_in_an_engine_that_serves(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    lora = {"parent": "baseline", "engine": ADAPTERS}
    family.variants["lora0"] = lora
    async with (
        local(tmp_path, family.stack, family.artifacts) as served,
        steady(str(served.client.base_url), "echo", 4, ("lora0",)) as load,
    ):
        host = served.upstreams.snapshot.variants["echo", "lora0"].engine.application
        pid = served.deployer.engines[host].process.pid
        for number in (1, 2):
            family.variants[f"lora{number}"] = lora
            assert (await change(served.client, family.proposal()))["state"] == "done"
        digests = {family.digest(f"lora{number}") for number in range(3)}
        assert len(digests) == 3
        for number in (1, 2):
            body = {"model": f"echo@lora{number}", "prompt": "a b c", "max_tokens": 2}
            answer = await served.client.post("/v1/completions", json=body)
            assert answer.json()["system_fingerprint"] == family.digest(f"lora{number}")
        assert served.deployer.engines[host].process.pid == pid
        family.variants["lora3"] = lora
        refused = await served.client.post("/admin/v1/stack", json=family.proposal())
        assert refused.status_code == 400
        assert "4 adapters share an engine that has 3 slots (slots: 4" in refused.json()["error"]["message"]
        del family.variants["lora3"], family.variants["lora2"]
        family.variants["lora4"] = lora
        refused = await served.client.post("/admin/v1/stack", json=family.proposal(force=True))
        assert refused.status_code == 409
        assert "has room for 3 adapters, and 4 would be loaded until" in refused.json()["error"]["message"]
        del family.variants["lora4"]
        family.variants["lora2"] = lora
        for number in (1, 2):
            del family.variants[f"lora{number}"]
            assert (await change(served.client, family.proposal(force=True)))["state"] == "done"
        assert len(served.deployer.adapters[host]) == 1
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert ("lora0", family.digest("lora0")) in load.signed


async def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        family.variants["int4"] = {"weight": 100}
        before = (await served.client.get("/admin/v1/stack")).json()
        answer = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()
        kinds = {each["name"]: (each["kind"], each["share_after"]) for each in answer["differences"]}
        assert kinds["echo@int4"] == ("add", 0.5)
        assert kinds["echo@baseline"] == ("keep", 0.45)
        assert [need["engine"] for need in answer["memory"]["needs"]] == ["echo@int4"]
        assert answer["memory"]["fits"] is True
        state = (await served.client.get("/admin/v1/stack")).json()
        assert state == before
        assert "int4" not in state["stack"]["models"]["echo"]["variants"]


async def test_what_cannot_be_is_refused_and_the_old_state_stays(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        before = (await served.client.get("/admin/v1/stack")).json()

        async def refused(document: dict[str, Any]) -> tuple[int, str]:
            answer = await served.client.post("/admin/v1/stack", json=document)
            return answer.status_code, answer.json()["error"]["message"]

        family.variants["int4"] = {}
        document = family.proposal()
        document["stack"]["server"]["memory_mib"] = 100
        status, said = await refused(document)
        assert status == 409
        assert "echo@int4 60 MiB (estimated)" in said
        assert "are left of server.memory_mib 100" in said
        document = family.proposal()
        del document["artifacts"]["echo@int4"]
        assert await refused(document) == (
            400, "artifacts: no artifact for echo@int4 (build it: understudy build)"
        )  # fmt: skip
        document["artifacts"]["echo@int4"] = family.artifacts["echo", "int8"].manifest.key
        assert (await refused(document))[0] == 400
        document["artifacts"]["echo@int4"] = "f" * 64
        assert (await refused(document))[0] == 404
        document = family.proposal()
        document["stack"]["models"]["echo"]["variants"]["int4"]["weight"] = -1
        status, said = await refused(document)
        assert status == 400
        assert "models.echo.variants.int4.weight" in said
        await served.client.post("/v1/completions", json={"model": "echo@int8", "prompt": "a", "max_tokens": 1})
        await asyncio.sleep(1)
        del family.variants["int8"]
        status, said = await refused(family.proposal())
        assert status == 409
        assert "echo@int8 is in use" in said
        assert "--force" in said
        assert (await served.client.get("/admin/v1/stack")).json() == before


async def test_an_engine_that_does_not_start_leaves_what_is_live(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        family.variants["broken"] = {"weight": 1}
        document = family.proposal()
        (family.artifacts["echo", "broken"].path / "manifest.json").write_text("{}")
        answer = await served.client.post("/admin/v1/stack", json=document)
        assert answer.status_code == 500
        assert "build it again" in answer.json()["error"]["message"]
        family.variants["other"] = family.variants.pop("broken")
        engines, version = set(served.deployer.engines), served.upstreams.snapshot.version
        served.deployer.home = tmp_path / "no" / "such"  # no engine starts where its log cannot be written
        (tmp_path / "no").write_text("")
        assert (await change(served.client, family.proposal()))["state"] == "failed"
        assert set(served.deployer.engines) == engines
        assert (await served.client.get("/admin/v1/stack")).json()["version"] == version
        assert (await served.client.post("/v1/completions", json={"model": "echo", "prompt": "a"})).status_code == 200


async def test_one_change_at_a_time_and_one_that_starts_can_be_given_up(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        family.variants["int4"] = {"engine": {"kind": "scripted", "startup_s": 20}}
        both = [served.client.post("/admin/v1/stack", json=family.proposal()) for _ in range(2)]
        assert sorted([answer.status_code for answer in await asyncio.gather(*both)]) == [202, 409]
        ended = await served.client.request("DELETE", "/admin/v1/stack")
        assert ended.json()["state"] == "cancelled"
        assert (await served.client.request("DELETE", "/admin/v1/stack")).status_code == 409
        family.variants["int4"] = {}
        before = served.upstreams.snapshot.version
        assert (await change(served.client, family.proposal()))["state"] == "done"
        assert served.upstreams.snapshot.version > before


async def test_a_change_is_given_up_while_it_is_checked_and_by_its_number(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        describe = served.deployer.describe
        served.deployer.describe = never  # an engine that does not report its memory
        family.variants["int4"] = {}
        proposed = asyncio.create_task(served.client.post("/admin/v1/stack", json=family.proposal()))
        while (await served.client.get("/admin/v1/stack")).json()["change"] is None:
            await asyncio.sleep(0.01)
        change_now = (await served.client.get("/admin/v1/stack")).json()["change"]
        assert (change_now["number"], change_now["state"]) == (1, "checking")
        other = await served.client.request("DELETE", "/admin/v1/stack", json={"change": 7})
        assert other.status_code == 409
        assert "1 is in progress" in other.json()["error"]["message"]
        assert (await served.client.request("DELETE", "/admin/v1/stack", json={"change": "1"})).status_code == 400
        ended = await served.client.request("DELETE", "/admin/v1/stack", json={"change": 1})
        assert ended.json()["state"] == "cancelled"
        answer = await proposed
        assert (answer.status_code, answer.json()["error"]["message"]) == (409, "change 1 was cancelled")
        served.deployer.describe = describe
        assert (await change(served.client, family.proposal()))["state"] == "done"
        changes = (await served.client.get("/admin/v1/stack")).json()["changes"]
        assert [(each["number"], each["state"]) for each in changes] == [(1, "cancelled"), (2, "done")]


async def never(application: str) -> Endpoint:
    await asyncio.sleep(3600)
    raise AssertionError(application)


async def test_a_model_that_clients_ask_for_is_not_taken_away_unless_forced(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    family.base = make_stack(family.base.server.port)  # a server keeps at least one model
    async with local(tmp_path, family.stack, family.artifacts) as served:
        body = {"model": "echo", "prompt": "a", "max_tokens": 1}
        assert (await served.client.post("/v1/completions", json=body)).status_code == 200
        await asyncio.sleep(1)
        document = family.proposal()
        del document["stack"]["models"]["echo"]
        document["artifacts"] = {
            name: key for name, key in document["artifacts"].items() if not name.startswith("echo@")
        }
        refused = await served.client.post("/admin/v1/stack", json=document)
        assert refused.status_code == 409
        assert "models: echo is in use: a client named it" in refused.json()["error"]["message"]
        assert (await change(served.client, {**document, "force": True}))["state"] == "done"
        assert (await served.client.post("/v1/completions", json=body)).status_code == 404
        assert not [name for name in served.deployer.engines if name.startswith("echo.")]


async def test_what_is_named_while_a_change_starts_is_not_taken_away(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        engines, version = set(served.deployer.engines), served.upstreams.snapshot.version
        del family.variants["int8"]
        family.variants["int4"] = {"engine": {"kind": "scripted", "startup_s": 3}}
        asked = asyncio.create_task(change(served.client, family.proposal()))
        await asyncio.sleep(0.5)
        body = {"model": "echo@int8", "prompt": "a", "max_tokens": 1}
        assert (await served.client.post("/v1/completions", json=body)).status_code == 200
        ended = await asked
        assert ended["state"] == "failed"
        assert "echo@int8 is in use" in ended["error"]
        assert set(served.deployer.engines) == engines
        assert served.upstreams.snapshot.version == version
        assert (await served.client.post("/v1/completions", json=body)).status_code == 200


async def test_an_engine_that_cannot_say_what_it_holds_is_taken_to_hold_what_it_held(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        del family.variants["int8"]
        before = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()["memory"]
        await served.engine("echo", "int8").stop()
        after = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()["memory"]
        assert after["freed_bytes"] == before["freed_bytes"] > 2**20
        done = await change(served.client, family.proposal(force=True))
        assert done["state"] == "done", "a variant whose engine is down can be removed"


@pytest.mark.parametrize("lost", ["record", "journal"])
async def test_where_nothing_can_be_written_down_what_was_live_is(tmp_path: Path, lost: str) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        engines = set(served.deployer.engines)
        family.variants["int4"] = {"weight": 5}
        holder = served.controller if lost == "record" else served.controller.traffic_manager.journal
        kept, holder.file = holder.file, tmp_path / "weights" / "no folder" / "file"
        (tmp_path / "weights").write_text("")
        ended = await change(served.client, family.proposal())
        assert ended["state"] == "failed"
        assert "it is live" not in ended["error"]
        assert set(served.deployer.engines) == engines
        state = (await served.client.get("/admin/v1/stack")).json()
        assert "int4" not in state["stack"]["models"]["echo"]["variants"]
        holder.file = kept
        if served.controller.file.exists():
            assert "int4" not in served.controller.file.read_text()
        shares = (await served.client.get("/admin/v1/models/echo/traffic")).json()["shares"]
        assert set(shares) == {"baseline", "int8"}
        assert (await change(served.client, family.proposal()))["state"] == "done"
        assert (await served.client.get("/admin/v1/models/echo/traffic")).json()["shares"]["int4"] > 0


async def test_what_stands_without_being_live_is_swept_away(tmp_path: Path) -> None:
    """Such engines are what a controller leaves that died during a change."""
    family = Family(tmp_path, free_port())
    lora = {"parent": "baseline", "engine": ADAPTERS}
    family.variants["lora0"] = lora
    async with local(tmp_path, family.stack, family.artifacts) as served:
        engines = set(served.deployer.engines)
        while not served.controller.swept:
            await asyncio.sleep(0.05)
        family.variants |= {"int4": {}, "lora1": lora}
        coming = build_snapshot(family.stack, family.artifacts)
        left = coming.variants["echo", "int4"].engine
        adapter = coming.variants["echo", "lora1"]
        await served.deployer.start([left])
        assert adapter.adapter is not None
        await served.deployer.load(adapter.engine.application, adapter.adapter)
        served.controller.swept = False
        while not served.controller.swept:
            await asyncio.sleep(0.05)
        assert set(served.deployer.engines) == engines
        assert served.deployer.adapters[adapter.engine.application] == {
            served.upstreams.snapshot.variants["echo", "lora0"].asked_as
        }


async def test_a_controller_that_is_started_anew_goes_on_with_what_was_live(tmp_path: Path) -> None:
    from serve.control.controller import Controller

    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        first = served.upstreams.snapshot
        family.variants["int4"] = {"weight": 5}
        await change(served.client, family.proposal())
        again = Controller(first, str(tmp_path), str(tmp_path / "state"), served.deployer)  # type: ignore[arg-type]
        assert again.snapshot.version > served.upstreams.snapshot.version
        assert {ref: variant.place for ref, variant in again.snapshot.variants.items()} == {
            ref: variant.place for ref, variant in served.upstreams.snapshot.variants.items()
        }
