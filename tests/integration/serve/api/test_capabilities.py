"""Variants that cannot do the same: what is listed, who answers, and what a rollout says of it. Without Ray."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.cli.rollout_text import describe_rollout
from serve.ports import free_port
from tests.support.family import Family
from tests.support.local_stage import Local, local

pytestmark = pytest.mark.integration
SHORT, LONG = 32, 128
LIMIT_S = 30.0


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Local]:
    """`echo` with a long context and, in int8, a short one."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = Family(tmp_path, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted", "context": LONG}},
        "int8": {"weight": 1, "parent": "baseline", "engine": {"kind": "scripted", "context": SHORT}},
        "idle": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted", "context": 2 * LONG}},
    }
    async with local(tmp_path, family.stack, family.artifacts) as served:
        yield served


async def ask(served: Local, model: str = "echo", **fields: Any) -> httpx.Response:
    body = {"model": model, "prompt": "a b c d", "max_tokens": 4, **fields}
    return await served.client.post("/v1/completions", json=body)


async def test_models_show_what_their_variants_can(served: Local) -> None:
    listed = {each["id"]: each for each in (await served.client.get("/v1/models")).json()["data"]}
    can = {"tools": False, "json_schema": True, "logprobs": True, "vision": False, "adapters": False}
    assert listed["echo@baseline"]["capabilities"] == {**can, "context": LONG}
    assert listed["echo@int8"]["capabilities"] == {**can, "context": SHORT}
    assert listed["echo"]["capabilities"] == {**can, "context": SHORT}
    one = (await served.client.get("/v1/models/echo@int8")).json()
    assert one["capabilities"] == listed["echo@int8"]["capabilities"]


async def test_a_request_goes_to_the_variants_that_can_answer_it(served: Local) -> None:
    users = [f"user-{number}" for number in range(12)]
    usual = [await ask(served, user=user) for user in users]
    assert {answer.headers["x-understudy-variant"] for answer in usual} == {"baseline", "int8"}
    for fields in ({"max_tokens": SHORT + 1}, {"prompt": [353] * (SHORT + 1)}):
        answers = [await ask(served, user=user, **fields) for user in users]
        assert {answer.status_code for answer in answers} == {200}
        told = {(each.headers["x-understudy-variant"], each.headers["x-understudy-reason"]) for each in answers}
        assert told == {("baseline", "capable")}
    assert [each.headers["x-understudy-reason"] for each in usual] == ["sticky"] * len(users)


async def test_what_nobody_can_answer_is_refused_with_its_field(served: Local) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    answer = await served.client.post(
        "/v1/chat/completions", json={"model": "echo", "messages": [{"role": "user", "content": "a"}], "tools": tools}
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (400, "tools")
    assert "leave tools out" in error["message"]
    error = (await ask(served, max_tokens=LONG + 1)).json()["error"]
    assert (error["param"], error["code"]) == ("max_tokens", "context_length_exceeded")
    assert "ask echo@idle" in error["message"]
    assert (await ask(served, "echo@idle", max_tokens=LONG + 1)).status_code == 200
    pinned = await ask(served, "echo@int8", max_tokens=SHORT + 1)
    assert (pinned.status_code, pinned.json()["error"]["param"]) == (400, "max_tokens")
    assert "echo@int8 does not offer" in pinned.json()["error"]["message"]


async def test_a_rollout_shows_the_share_that_its_variant_could_not_serve(served: Local) -> None:
    path = "/admin/v1/models/echo/rollout"
    plan = {"variant": "int8", "steps": [50, 100], "hold_s": 600, "gate": {"quality": 0.05}}
    answer = await served.client.post(path, json=plan)
    assert answer.status_code in (200, 201, 202), answer.text
    routed: list[dict[str, Any]] = [{"max_tokens": SHORT + 1}] * 3 + [{"max_tokens": LONG + 1}, {}, {}, {}, {}]
    for fields in routed:
        await ask(served, **fields)
    deadline = time.monotonic() + LIMIT_S
    while (state := (await served.client.get(path)).json())["routed"]["requests"] < 8:
        assert time.monotonic() < deadline, state["routed"]
        await asyncio.sleep(0.2)
    assert state["routed"] == {"requests": 8, "not_served": 4, "share_not_served": 0.5}
    assert "share not served: 50.0% of 8 requests" in describe_rollout(state)
    seen = sum(state["assignments"]["seen"].values())
    assert seen == 4, "requests that exclude a variant are no evidence about the weights"
