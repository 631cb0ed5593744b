"""Waiting replays are dropped and counted, also when the server ends."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve import metrics
from serve.ports import free_port
from tests.support.family import Family
from tests.support.labelled_load import labelled
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
OUTCOMES = ("compared", "failed", "dropped_full", "dropped_late")


def outcomes() -> dict[str, float]:
    return {name: metrics.shadows.labels("echo", "int8", name)._value.get() for name in OUTCOMES}


async def test_a_server_that_ends_drops_what_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setattr("serve.shadow.replayer.Replayer.admits", lambda self, replay: False)
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    async with local(tmp_path, family.stack, family.artifacts) as served:
        moved = await served.client.put(
            "/admin/v1/models/echo/traffic",
            json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}},
            headers={"if-match": "*"},
        )
        assert moved.status_code == 200, moved.text
        async with labelled(str(served.client.base_url), "echo", 1) as load:
            while len(load.ids) < 5:
                await asyncio.sleep(0.01)
        waiting = metrics.shadows_waiting.labels("echo", "int8")
        assert waiting._value.get() == sum(load.statuses.values())
    ended = outcomes()
    assert ended == {"compared": 0, "failed": 0, "dropped_full": 0, "dropped_late": sum(load.statuses.values())}
    assert waiting._value.get() == 0


async def test_under_saturation_each_chosen_request_ends_in_one_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More clients than places at the engine: no replay is admitted, the queue fills, and waiting replays are dropped.
    The metrics and the journal agree on every sampled request."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.setattr("serve.shadow.replayer.QUEUE", 8)
    monkeypatch.setattr("serve.shadow.replayer.WAIT_S", 1.0)
    family = Family(tmp_path, free_port())
    engine = {"kind": "scripted", "first_token_s": 0.05}
    family.variants = {
        "baseline": {"weight": 1, "engine": engine},
        "int8": {"weight": 0, "parent": "baseline", "engine": engine},
    }
    document = family.stack.model_dump(mode="json", by_alias=True)
    document["models"]["echo"]["limits"]["concurrency"] = 4
    stack = type(family.stack).model_validate(document)
    async with local(tmp_path, stack, family.artifacts) as served:
        for share in (0.5, 0):
            moved = await served.client.put(
                "/admin/v1/models/echo/traffic",
                json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": share} if share else {}},
                headers={"if-match": "*"},
            )
            assert moved.status_code == 200, moved.text
            async with labelled(str(served.client.base_url), "echo", 24 if share else 1, pause_s=0) as load:
                await asyncio.sleep(3)
            assert set(load.statuses) == {200}
        async with asyncio.timeout(30):
            while metrics.shadows_waiting.labels("echo", "int8")._value.get() or (
                (chosen := (written := await journalled(served.client)).pop("chosen")) != sum(written.values())
            ):
                await asyncio.sleep(0.1)
    ended = outcomes()
    assert ended["dropped_full"] > 0
    assert ended["dropped_late"] > 0
    assert chosen == sum(ended.values())
    assert written == {
        "compared": ended["compared"],
        "failed": ended["failed"],
        "dropped": ended["dropped_full"] + ended["dropped_late"],
    }


async def test_chats_without_a_label_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every form that a client may give them: none is refused when it is scored."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    part: dict[str, Any] = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}
    answer: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "tool_calls": []}
    chats: list[list[dict[str, Any]]] = [
        [{"role": "user", "content": "hello"}],
        [{"role": "developer", "content": [part]}, {"role": "user", "content": [part, part]}],
        [{"role": "user", "content": "hello"}, answer, {"role": "user", "content": "again"}],
    ]
    async with local(tmp_path, family.stack, family.artifacts) as served:
        moved = await served.client.put(
            "/admin/v1/models/echo/traffic",
            json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}},
            headers={"if-match": "*"},
        )
        assert moved.status_code == 200, moved.text
        for messages in chats:
            body = {"model": "echo", "messages": messages, "n": None, "stream": None, "temperature": 0}
            assert (await served.client.post("/v1/chat/completions", json=body)).status_code == 200
        async with asyncio.timeout(30):
            while outcomes()["compared"] < len(chats):
                await asyncio.sleep(0.05)
        while (written := await journalled(served.client))["compared"] < len(chats):
            await asyncio.sleep(0.1)
    assert written == {"chosen": 3, "compared": 3, "failed": 0, "dropped": 0}


async def journalled(client: httpx.AsyncClient) -> dict[str, float]:
    """Shadow pairs of int8 in the journal, which counts sampled requests separately."""
    written = dict.fromkeys(("chosen", "compared", "failed", "dropped"), 0.0)
    for entry in (await client.get("/admin/v1/journal?last=10000")).json()["entries"]:
        if entry["kind"] == "outcomes":
            for shadowed in entry["models"].get("echo", {}).get("shadows", {}).values():
                failed = sum(pair["failed"] for pair in shadowed["pairs"])
                written["chosen"] += shadowed["chosen"]
                written["compared"] += len(shadowed["pairs"]) - failed
                written["failed"] += failed
                written["dropped"] += len(shadowed["dropped"]) + len(shadowed["unjudged"])
    return written
