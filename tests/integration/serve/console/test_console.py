"""The console over a real server: each page, and what its forms change."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.integration.serve.api.test_authentication import key, with_keys
from tests.integration.serve.console.conftest import PLAN, family_of
from tests.support.labelled_load import labelled
from tests.support.local_stage import Local, local
from tests.unit.serve.console.made import token_of

pytestmark = pytest.mark.integration
API = "/admin/v1/models/echo"
ASK = {"model": "echo", "messages": [{"role": "user", "content": "Hello there"}], "max_tokens": 8}
LIMIT_S = 60.0
"""Detects a hang; it is no limit on speed."""


async def post(served: Local, page: str, action: str = "", **fields: str) -> Any:
    """Post a form with the token of its page."""
    shown = await served.client.get(page)
    assert shown.status_code == 200, shown.text
    return await served.client.post(f"{page}{action}", data={"token": token_of(shown.text), **fields})


async def test_each_page_is_shown(served: Local) -> None:
    fleet = await served.client.get("/")
    assert fleet.status_code == 200
    assert "every variant is ready" in fleet.text
    assert "No request has been answered yet" in fleet.text
    assert (await served.client.post("/v1/chat/completions", json=ASK)).status_code == 200
    fleet = await served.client.get("/")
    assert "No request has been answered yet" not in fleet.text
    model = (await served.client.get("/models/echo")).text
    assert "80.0 % (75.0 to 85.0)" in model
    assert "understudy rollout start echo int8" in model
    assert (await served.client.get("/models/echo/pareto.svg")).text.startswith("<svg")
    assert 'value="90"' in (await served.client.get("/models/echo/traffic")).text
    assert (await served.client.get("/try")).status_code == 200
    assert (await served.client.get("/sign-in")).status_code == 200
    missing = await served.client.get("/models/none")
    assert missing.status_code == 404
    assert "there is no model" in missing.text


async def test_traffic_is_previewed_then_applied_and_written_to_the_history(served: Local) -> None:
    page = "/models/echo/traffic"
    wrong = await post(served, page, **{"share-baseline": "50", "share-int8": "40"})
    assert wrong.status_code == 400
    assert "add up to 90 and not to 100" in wrong.text
    unknown = await post(served, page, **{"share-baseline": "50", "share-int8": "50", "pins": "alice = none"})
    assert "has no variant" in unknown.text
    fields = {"share-baseline": "50", "share-int8": "50", "shadow-int8": "20", "pins": "alice = int8"}
    previewed = await post(served, page, **fields)
    assert previewed.status_code == 200
    assert "of the clients move from baseline to int8" in previewed.text
    assert "Client alice: not pinned now, pinned to int8 then." in previewed.text
    assert (await served.client.get(f"{API}/traffic")).json()["shares"] == {"baseline": 0.9, "int8": 0.1}

    document = '{"weights": {"baseline": 50, "int8": 50}, "shadows": {"int8": 0.2}, "pins": {"alice": "int8"}}'
    version = str((await served.client.get(f"{API}/traffic")).json()["version"])
    applied = await post(served, page, document=document, version=version, why="int8 looks good")
    assert (applied.status_code, applied.headers["location"]) == (303, f"{page}?changed=1")
    answer = (await served.client.get(f"{API}/traffic")).json()
    assert answer["shares"] == {"baseline": 0.5, "int8": 0.5}
    assert answer["traffic"]["pins"] == {"alice": "int8"}
    shown = (await served.client.get(applied.headers["location"])).text
    assert "is in force" in shown
    assert "int8 looks good" in shown
    assert "console" in shown

    stale = await post(served, page, document=document, version=version, why="again")
    assert stale.status_code == 412
    assert "is out of date" in stale.text


async def test_a_rollout_is_watched_paused_and_aborted(served: Local) -> None:
    begun = await served.client.post(f"{API}/rollout", json=PLAN)
    assert begun.status_code == 200, begun.text
    name = (await served.client.get(f"{API}/rollouts")).json()["rollouts"][0]["id"]
    page = f"/models/echo/rollouts/{name}"
    async with labelled(str(served.client.base_url), "echo", 2):
        async with asyncio.timeout(LIMIT_S):
            while "evidence/quality.svg" not in (shown := (await served.client.get(page)).text):
                await asyncio.sleep(0.2)
    assert 'aria-current="step"' in shown
    assert "What is missing" in shown
    assert (await served.client.get(f"{page}/evidence/quality.svg")).text.startswith("<svg")
    assert (await served.client.get(f"{page}/evidence/none.svg")).status_code == 404
    assert "controls this traffic" in (await served.client.get("/models/echo/traffic")).text

    paused = await post(served, page, "/pause", why="lunch")
    assert (paused.status_code, paused.headers["location"]) == (303, page)
    rollout = (await served.client.get(f"{API}/rollout")).json()["rollout"]
    assert (rollout["status"], rollout["why"]) == ("paused", "pause by console: lunch")
    again = await post(served, page, "/pause", why="lunch")
    assert again.status_code == 409
    await post(served, page, "/abort", why="enough")
    assert (await served.client.get(f"{API}/rollout")).json()["rollout"]["status"] == "aborted"
    shown = (await served.client.get(page)).text
    assert "abort by console: enough" in shown
    assert "formaction" not in shown
    report = await served.client.get(f"{page}/report")
    assert report.text.startswith("<!doctype html>")
    assert "script" not in report.headers["content-security-policy"]
    assert name in (await served.client.get("/models/echo")).text


async def test_one_prompt_goes_to_every_variant(served: Local) -> None:
    answer = await post(served, "/try", model="echo", prompt="one <b>two</b> three", tokens="8")
    assert answer.status_code == 200
    assert answer.text.count('<p class="answer">') == 2
    assert "8 tokens" in answer.text
    assert "<b>two</b>" not in answer.text
    assert "base_url=" in answer.text
    assert (await post(served, "/try", model="echo", prompt="x", tokens="0")).status_code == 400


async def test_rights_are_those_of_the_api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    stack = with_keys(family.stack, ops=key("root", admin=True), app=key("a"))
    async with local(tmp_path, stack, family.artifacts) as served:
        assert (await served.client.get("/")).status_code == 303
        assert (await post(served, "/sign-in", key="a")).status_code == 303
        assert (await served.client.get("/")).status_code == 403
        assert (await served.client.get("/models/echo/traffic")).status_code == 403
        tried = await post(served, "/try", model="echo", prompt="x", tokens="4")
        assert tried.text.count('<p class="answer">') == 2

        assert (await post(served, "/sign-in", key="root")).status_code == 303
        now = await served.client.get(f"{API}/traffic", headers={"authorization": "Bearer root"})
        weights = '{"weights": {"baseline": 1, "int8": 1}}'
        fields = {"document": weights, "version": str(now.json()["version"]), "why": "a test"}
        assert (await post(served, "/models/echo/traffic", **fields)).status_code == 303
        journal = await served.client.get("/admin/v1/journal", headers={"authorization": "Bearer root"})
        changes = [entry for entry in journal.json()["entries"] if entry["kind"] == "traffic" and entry.get("why")]
        assert (changes[-1]["who"], changes[-1]["why"]) == ("ops", "a test")
        assert (await served.client.get(f"{API}/traffic")).status_code == 401  # the cookie opens pages, not the API
