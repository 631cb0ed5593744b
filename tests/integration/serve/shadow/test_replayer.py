"""Waiting replays are dropped and counted, also when the server ends."""

import asyncio
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve import metrics
from serve.ports import free_port
from tests.support.family import Family
from tests.support.labelled_load import BIAS, labelled
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
OUTCOMES = ("compared", "failed", "lost", "dropped_full", "dropped_late")


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
    assert ended == dict.fromkeys(OUTCOMES, 0) | {"dropped_late": sum(load.statuses.values())}
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
        "skipped": ended["dropped_full"] + ended["dropped_late"],
        "lost": ended["lost"],
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
        pairs = [pair for each in await shadows_of(served.client) for pair in each["pairs"]]
    assert written == {"chosen": 3, "compared": 3, "failed": 0, "skipped": 0, "lost": 0}
    assert [pair["values"] for pair in pairs] == [[1.0, 1.0]] * 3
    assert [pair["checks"]["equal"] for pair in pairs] == [1] * 3
    assert len({pair["id"] for pair in pairs}) == 3


async def test_a_pair_says_who_asked_and_which_label_is_whose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clerk's key is trusted because its right is written down; a guest's has it by default."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    document = family.stack.model_dump(mode="json", by_alias=True)
    document["server"]["keys"] = {
        "clerk": {"sha256": sha256(b"clerk").hexdigest(), "rights": ["infer", "label", "admin"]},
        "guest": {"sha256": sha256(b"guest").hexdigest()},
    }
    clerk = {"authorization": "Bearer clerk"}
    async with local(tmp_path, type(family.stack).model_validate(document), family.artifacts) as served:
        traffic = {"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}}
        headers = {**clerk, "if-match": "*"}
        moved = await served.client.put("/admin/v1/models/echo/traffic", json=traffic, headers=headers)
        assert moved.status_code == 200, moved.text
        sent = (("clerk", "ann", "pos"), ("guest", "ann", "neg"), ("guest", "ann", "pos"), ("guest", "bob", "pos"))
        for number, (key, client, label) in enumerate(sent):
            body = {"model": "echo", "prompt": f"number {number} is {label}", "user": client, "max_tokens": 1,
                    "temperature": 0, "logit_bias": BIAS}  # fmt: skip
            headers = {"authorization": f"Bearer {key}", "x-understudy-label": label}
            answer = await served.client.post("/v1/completions", json=body, headers=headers)
            assert answer.status_code == 200, answer.text
            while outcomes()["compared"] <= number:  # one after the other, so that pairs stand in their order
                await asyncio.sleep(0.01)
        served.client.headers.update(clerk)
        async with asyncio.timeout(30):
            while len(pairs := [pair for each in await shadows_of(served.client) for pair in each["pairs"]]) < 4:
                await asyncio.sleep(0.05)
    assert [pair["trusted"] for pair in pairs] == [True, False, False, False]
    first, second, third, fourth = (pair["client"] for pair in pairs)
    assert second == third
    assert len({first, second, fourth}) == 3
    assert [pair["values"] for pair in pairs] == [[1.0, 1.0]] * 4
    assert all(pair["shuffled"] in (0.0, 1.0) for pair in pairs[1:])
    labels = [pair["label"] for pair in pairs]
    assert labels[0] == labels[2] == labels[3] != labels[1]
    assert all(pair["segments"] == {"streamed": "no"} for pair in pairs)
    assert "ann" not in str(pairs)


SMALL = {"kind": "scripted", "context": 16}
"""An engine whose context holds a prompt of 8 tokens and an answer of 8, 4 bytes a token."""


@pytest.mark.parametrize(
    ("weights", "words", "ends"),
    [
        ((1, 0), 10, {"asked": True, "failed": True, "lost": "variant failed"}),  # the parent's client has an answer
        ((0, 1), 10, {"asked": True, "failed": True, "lost": "variant failed"}),  # the variant's client has a 400
        ((1, 0), 4000, None),
        ((0, 1), 4000, None),
    ],
)
async def test_a_request_that_only_the_variant_refuses_is_its_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: tuple[int, int], words: int, ends: dict[str, Any] | None
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": weights[0], "engine": {"kind": "scripted"}},
        "int8": {"weight": weights[1], "parent": "baseline", "engine": SMALL},
    }
    async with local(tmp_path, family.stack, family.artifacts) as served:
        traffic = {"weights": dict(zip(("baseline", "int8"), weights, strict=True)), "shadows": {"int8": 1.0}}
        await served.client.put("/admin/v1/models/echo/traffic", json=traffic, headers={"if-match": "*"})
        body = {"model": "echo", "prompt": "word " * words * 2, "max_tokens": 8, "temperature": 0}
        answer = await served.client.post("/v1/completions", json=body)
        assert answer.status_code == (400 if ends is None or weights[1] else 200), answer.text
        ended = metrics.shadows.labels("echo", "int8", "failed" if ends else "withdrawn")
        async with asyncio.timeout(30):
            while not ended._value.get():
                await asyncio.sleep(0.05)
            while True:
                shadows = await shadows_of(served.client)
                pairs = [pair for each in shadows for pair in each["pairs"]]
                if shadows and sum(each["chosen"] for each in shadows) == len(pairs) == (ends is not None):
                    break
                await asyncio.sleep(0.05)
    for pair in pairs:
        assert {name: pair[name] for name in ends or ()} == ends
        assert (pair["metric"], pair["values"]) == (None, None)


async def test_a_sampled_request_whose_client_leaves_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted", "first_token_s": 60.0}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    async with local(tmp_path, family.stack, family.artifacts) as served:
        traffic = {"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}}
        await served.client.put("/admin/v1/models/echo/traffic", json=traffic, headers={"if-match": "*"})
        for path, body in (
            ("/v1/completions", {"model": "echo", "prompt": "so it is", "stream": True}),
            ("/v1/chat/completions", {"model": "echo", "messages": [{"role": "user", "content": "so"}]}),
        ):
            with pytest.raises(httpx.ReadTimeout):
                await served.client.post(path, json=body, timeout=1.0)
        async with asyncio.timeout(30):
            while sum(each["chosen"] for each in await shadows_of(served.client)) < 2:
                await asyncio.sleep(0.05)
        lost = [each["lost"]["agreement"] for each in await shadows_of(served.client) if each["lost"]]
    assert sum(len(reasons["client left"]) for reasons in lost) == 2


async def journalled(client: httpx.AsyncClient) -> dict[str, float]:
    """Shadow pairs of int8 in the journal, which counts sampled requests separately."""
    written = dict.fromkeys(("chosen", "compared", "failed", "skipped", "lost"), 0.0)
    for shadowed in await shadows_of(client):
        failed = sum(pair["failed"] for pair in shadowed["pairs"])
        written["chosen"] += shadowed["chosen"]
        written["compared"] += len(shadowed["pairs"]) - failed
        written["failed"] += failed
        written["skipped"] += len(shadowed["skipped"])
        written["lost"] += sum(len(lengths) for reasons in shadowed["lost"].values() for lengths in reasons.values())
    return written


async def shadows_of(client: httpx.AsyncClient) -> list[dict[str, Any]]:
    """All reports of shadows in the journal."""
    entries = (await client.get("/admin/v1/journal?last=10000")).json()["entries"]
    models = [entry["models"].get("echo", {}) for entry in entries if entry["kind"] == "outcomes"]
    return [shadowed for model in models for shadowed in model.get("shadows", {}).values()]
