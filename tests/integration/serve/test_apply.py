"""Variants come and go while requests flow: none fails, and each answer is signed by the build that was live."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serve.ports import free_port
from tests.family import ADAPTERS, Family, change
from tests.live_load import steady
from tests.local_stage import local

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The conductor looks where the artifacts are made."""
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
        gone = set(served.stage.engines)
        del family.variants["int4"]
        assert (await change(served.client, family.proposal(force=True)))["state"] == "done"
        assert len(gone - set(served.stage.engines)) == 1
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
        host = served.fleet.live.variants["echo", "lora0"].engine.application
        pid = served.stage.engines[host].process.pid  # type: ignore[union-attr]
        for number in (1, 2):
            family.variants[f"lora{number}"] = lora
            assert (await change(served.client, family.proposal()))["state"] == "done"
        digests = {family.digest(f"lora{number}") for number in range(3)}
        assert len(digests) == 3
        for number in (1, 2):
            body = {"model": f"echo@lora{number}", "prompt": "a b c", "max_tokens": 2}
            answer = await served.client.post("/v1/completions", json=body)
            assert answer.json()["system_fingerprint"] == family.digest(f"lora{number}")
        assert served.stage.engines[host].process.pid == pid  # type: ignore[union-attr]
        family.variants["lora3"] = lora
        refused = await change(served.client, family.proposal())
        assert refused["state"] == "failed"
        assert "3 adapters are loaded already" in refused["error"]
        del family.variants["lora3"]
        for number in (1, 2):
            del family.variants[f"lora{number}"]
            assert (await change(served.client, family.proposal(force=True)))["state"] == "done"
        assert len(served.stage.adapters[host]) == 1
    assert load.broken == []
    assert set(load.statuses) == {200}
    assert ("lora0", family.digest("lora0")) in load.signed


async def test_a_dry_run_says_what_would_change_and_changes_nothing(tmp_path: Path) -> None:
    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        family.variants["int4"] = {"weight": 100}
        before = (await served.client.get("/admin/v1/stack")).json()
        found = (await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True))).json()
        kinds = {each["name"]: (each["kind"], each["share_after"]) for each in found["differences"]}
        assert kinds["echo@int4"] == ("add", 0.5)
        assert kinds["echo@baseline"] == ("keep", 0.45)
        assert [need["engine"] for need in found["memory"]["needs"]] == ["echo@int4"]
        assert found["memory"]["fits"] is True
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
        engines, version = set(served.stage.engines), served.fleet.live.version
        served.stage.home = tmp_path / "no" / "such"  # where logs cannot be written, nothing starts
        (tmp_path / "no").write_text("")
        assert (await change(served.client, family.proposal()))["state"] == "failed"
        assert set(served.stage.engines) == engines
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
        before = served.fleet.live.version
        assert (await change(served.client, family.proposal()))["state"] == "done"
        assert served.fleet.live.version > before


async def test_a_conductor_that_is_started_anew_goes_on_with_what_was_live(tmp_path: Path) -> None:
    from serve.conductor import Conductor

    family = Family(tmp_path, free_port())
    async with local(tmp_path, family.stack, family.artifacts) as served:
        first = served.fleet.live
        family.variants["int4"] = {"weight": 5}
        await change(served.client, family.proposal())
        again = Conductor(first, str(tmp_path), str(tmp_path / "state"), served.stage)  # type: ignore[arg-type]
        assert again.live.version > served.fleet.live.version
        assert {name: found.place for name, found in again.live.variants.items()} == {
            name: found.place for name, found in served.fleet.live.variants.items()
        }
