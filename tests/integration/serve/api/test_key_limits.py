"""Rights, limits and rotation of API keys, and fair queues, over real connections to a real engine."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from serve.config.stack import Stack
from serve.ports import free_port
from tests.support.family import Family, change
from tests.support.local_stage import Local, local

pytestmark = pytest.mark.integration
ASK = {"model": "echo@baseline", "prompt": "one two three four", "max_tokens": 8, "temperature": 0}


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def bearer(secret: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}", **{name.replace("_", "-"): value for name, value in more.items()}}


def stack_of(family: Family, keys: dict[str, Any], **limits: Any) -> Stack:
    document = family.stack.model_dump(mode="json", by_alias=True)
    document["server"]["keys"] = keys
    for model in document["models"].values():
        model["limits"] |= limits
    return Stack.model_validate(document)


def family_of(home: Path, token_s: float = 0.0) -> Family:
    family = Family(home, free_port())
    family.variants = {"baseline": {"weight": 1, "engine": {"kind": "scripted", "token_s": token_s}}}
    return family


async def ask(served: Local, secret: str, **more: str) -> httpx.Response:
    return await served.client.post("/v1/completions", json=ASK, headers=bearer(secret, **more))


async def counter(served: Local, sample: str) -> float:
    lines = (await served.client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"understudy_key_{sample}"))


async def test_rights_limits_and_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    keys = {
        "ops": {"sha256": digest("root"), "admin": True},
        "guest": {"sha256": digest("guest"), "rights": ["infer"]},
        "tokens": {"sha256": digest("tokens"), "limits": {"tokens_per_minute": 10}},
        "old": {"sha256": digest("old"), "expires": "2026-01-01"},
    }
    stack = stack_of(family, keys)
    async with local(tmp_path, stack, family.artifacts) as served:
        sent = 'tokens_total{key="tokens"}'
        before = await counter(served, sent)
        assert (await ask(served, "guest", x_understudy_label="pos")).status_code == 403
        assert (await ask(served, "guest")).status_code == 200
        first = await ask(served, "tokens")
        usage = first.json()["usage"]["total_tokens"]
        assert usage > 10
        assert await counter(served, sent) - before == usage
        limited = await ask(served, "tokens")
        assert limited.status_code == 429
        assert limited.json()["error"]["type"] == "rate_limit_error"
        assert "tokens_per_minute" in limited.json()["error"]["message"]
        assert 50 <= int(limited.headers["retry-after"]) <= 60
        assert (await ask(served, "guest")).status_code == 200
        expired = await ask(served, "old")
        assert (expired.status_code, expired.headers["www-authenticate"]) == (401, "Bearer")
        assert await counter(served, 'refused_total{key="old",why="expired"}') >= 1
        assert await counter(served, 'refused_total{key="tokens",why="limit"}') >= 1
        await rotates(served, family, keys)


async def rotates(served: Local, family: Family, keys: dict[str, Any]) -> None:
    """The old key and the new one work at once, and then the new one alone."""
    served.client.headers.update(bearer("root"))
    for hashes, old, new in (([digest("guest"), digest("fresh")], 200, 200), ([digest("fresh")], 401, 200)):
        keys = keys | {"guest": {"sha256": hashes, "rights": ["infer"]}}
        document = stack_of(family, keys).model_dump(mode="json", by_alias=True)
        dry = await served.client.post("/admin/v1/stack", json=family.proposal(dry_run=True) | {"stack": document})
        assert dry.json()["server"]["keys_changed"] == ["guest"]
        assert (await change(served.client, family.proposal() | {"stack": document}))["state"] == "done"
        assert [(await ask(served, secret)).status_code for secret in ("guest", "fresh")] == [old, new]


async def crowd(served: Local, count: int, headers: Sequence[dict[str, str]], **more: Any) -> list[httpx.Response]:
    asked = (
        served.client.post("/v1/completions", json=ASK | more, headers=headers[number % len(headers)])
        for number in range(count)
    )
    return await asyncio.gather(*asked)


async def test_one_key_does_not_shut_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path, token_s=0.1)
    keys = {name: {"sha256": digest(name)} for name in ("greedy", "modest")}
    stack = stack_of(family, keys, concurrency=2, queue=4)
    async with local(tmp_path, stack, family.artifacts) as served:
        upstream = served.upstreams.by_model["echo"]["baseline"]
        greedy = asyncio.create_task(crowd(served, 12, [bearer("greedy", x_understudy_client=each) for each in "abc"]))
        async with asyncio.timeout(10):
            while upstream.waiting < 4:
                await asyncio.sleep(0.01)
        modest = await crowd(served, 2, [bearer("modest")])
        assert [answer.status_code for answer in modest] == [200, 200]
        statuses = [answer.status_code for answer in await greedy]
        assert statuses.count(200) == 4, "two at once, and half of the queue"
        assert statuses.count(429) == 8
        assert await counter(served, 'refused_total{key="greedy",why="queue"}') >= 8
        refused = next(answer for answer in await greedy if answer.status_code == 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert upstream.idle


async def test_retry_after_follows_the_speed_of_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path, token_s=0.25)
    async with local(tmp_path, stack_of(family, {}, concurrency=1, queue=4), family.artifacts) as served:
        upstream = served.upstreams.by_model["echo"]["baseline"]
        body = {"max_tokens": 4, "ignore_eos": True, "user": "a"}  # three quarters of a second each
        first = asyncio.create_task(crowd(served, 5, [{}], **body))
        async with asyncio.timeout(30):
            while upstream.waiting != 4:
                await asyncio.sleep(0.01)
            while upstream.waiting != 2:
                await asyncio.sleep(0.01)
        second = await crowd(served, 3, [{}], **body)
        (refused,) = (answer for answer in second if answer.status_code == 429)
        assert 3 <= int(refused.headers["retry-after"]) <= 60, "four wait, for at least three quarters of a second each"
        assert {answer.status_code for answer in await first} == {200}
