"""A server that requires API keys."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtest.campaign.schema import parse_campaign
from loadtest.errors import LoadError
from loadtest.results.records import Record, read_lines
from loadtest.worker.parent import run
from serve.cli.apply import describe
from serve.config.server.api_keys import Key
from serve.config.stack import Stack
from serve.ports import free_port
from tests.support.family import Family, change
from tests.support.local_stage import Local, local

pytestmark = pytest.mark.integration
TEXT_ARRIVALS = {"model": "echo", "task": "rotten_tomatoes", "ask": "label", "per_s": 10}
TRAFFIC = "/admin/v1/models/echo/traffic"
ASK = {"model": "echo", "prompt": "is it pos", "max_tokens": 1, "temperature": 0}


def key(secret: str, **more: bool) -> Key:
    return Key(sha256=hashlib.sha256(secret.encode()).hexdigest(), **more)


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}


def with_keys(stack: Stack, **keys: Key) -> Stack:
    return stack.model_copy(update={"server": stack.server.model_copy(update={"keys": keys})})


def family_of(home: Path) -> Family:
    family = Family(home, free_port())
    family.variants = {
        "baseline": {"weight": 1, "engine": {"kind": "scripted"}},
        "int8": {"weight": 0, "parent": "baseline", "engine": {"kind": "scripted"}},
    }
    return family


async def ask(client: httpx.AsyncClient, secret: str) -> httpx.Response:
    headers = {"x-understudy-label": "pos", "x-understudy-shadow": "on", **bearer(secret)}
    return await client.post("/v1/completions", json=ASK, headers=headers)


async def shadowed(served: Local) -> int:
    """Number of sampled requests in the journal."""
    entries = (await served.client.get("/admin/v1/journal?last=10000", headers=bearer("root"))).json()["entries"]
    models = [entry["models"].get("echo", {}) for entry in entries if entry["kind"] == "outcomes"]
    return sum(pair["chosen"] for each in models for pair in each.get("shadows", {}).values())


async def test_only_who_has_a_key_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    stack = with_keys(family.stack, ops=key("root", admin=True), shop=key("penny"), clinic=key("hush", shadow=False))
    async with local(tmp_path, stack, family.artifacts) as served:
        client = served.client
        await refuses(client)
        moved = await client.put(
            TRAFFIC,
            json={"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}},
            headers={"if-match": "*", "x-understudy-who": "somebody else", **bearer("root")},
        )
        assert moved.status_code == 200, moved.text
        for _ in range(5):
            assert (await ask(client, "hush")).status_code == 200
        await asyncio.sleep(1.5)
        assert await shadowed(served) == 0
        for _ in range(5):
            assert (await ask(client, "penny")).status_code == 200
        await asyncio.sleep(1.5)
        assert await shadowed(served) == 5
        journal = (tmp_path / "state" / "journal.jsonl").read_text()
        assert '"who":"ops"' in journal
        assert "somebody else" not in journal
        for secret in ("root", "penny", "hush"):
            assert secret not in journal
        assert 'understudy_errors_total{status="401"}' in (await client.get("/metrics")).text


async def refuses(client: httpx.AsyncClient) -> None:
    """Requests without a key, with a wrong key, and without an admin's key are refused."""
    none: dict[str, str] = {}
    for headers in (none, bearer("wrong")):
        answer = await client.post("/v1/completions", json=ASK, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["error"]["code"] == "invalid_api_key"
        assert (await client.get("/v2/models/bands", headers=headers)).status_code == 401
        assert isinstance((await client.get("/v2", headers=headers)).json()["error"], str)
        assert (await client.get(TRAFFIC, headers=headers)).status_code == 401
        assert (await client.get("/nowhere", headers=headers)).status_code == 401
    forbidden = await client.get(TRAFFIC, headers=bearer("penny"))
    assert forbidden.status_code == 403
    assert forbidden.json()["error"]["code"] == "forbidden"
    assert (await client.get("/metrics")).status_code == 200
    assert (await client.get("/v2/health/ready")).status_code == 200
    assert (await client.get("/v1/models", headers=bearer("penny"))).status_code == 200


async def test_a_campaign_sends_the_key_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    monkeypatch.delenv("UNDERSTUDY_KEY", raising=False)
    family = family_of(tmp_path)
    stack = with_keys(family.stack, ops=key("root", admin=True), shop=key("penny"))
    url = f"http://127.0.0.1:{stack.server.port}"
    part = {"seconds": 1, "clients": 2, "arrivals": [TEXT_ARRIVALS]}
    campaign = parse_campaign({"schema": 1, "name": "keys", "limit_s": 60, "mixed": part})
    async with local(tmp_path, stack, family.artifacts):
        with pytest.raises(LoadError, match="answered 401"):
            await asyncio.to_thread(run, url, campaign, tmp_path / "out", lambda step: None)
        monkeypatch.setenv("UNDERSTUDY_KEY", "root")
        records = await asyncio.to_thread(run, url, campaign, tmp_path / "out", lambda step: None)
    statuses = [record.status for record in read_lines(records, Record)]
    assert statuses
    assert set(statuses) == {200}


async def test_keys_change_while_it_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)

    def proposal(insecure_open: bool = False, **keys: Key) -> dict[str, Any]:
        document = with_keys(family.stack, **keys).model_dump(mode="json", by_alias=True)
        return {**family.proposal(insecure_open=insecure_open), "stack": document}

    async with local(tmp_path, family.stack, family.artifacts) as served:
        assert (await served.client.post("/v1/completions", json=ASK)).status_code == 200
        answer = await served.client.post("/admin/v1/stack", json=proposal(ops=key("root", admin=True)))
        assert answer.status_code == 202, answer.text
        while (await served.client.post("/v1/completions", json=ASK)).status_code == 200:
            await asyncio.sleep(0.05)
        served.client.headers.update(bearer("root"))
        assert (await served.client.post("/v1/completions", json=ASK)).status_code == 200
        while (await served.client.get("/admin/v1/stack")).json()["change"]["state"] != "done":
            await asyncio.sleep(0.05)
        await keeps_its_keys(served, family.proposal(), proposal())
        done = await change(served.client, proposal(insecure_open=True))
        assert done["state"] == "done"
        served.client.headers.pop("authorization")
        assert (await served.client.post("/v1/completions", json=ASK)).status_code == 200


async def keeps_its_keys(served: Local, unsaid: dict[str, Any], removed: dict[str, Any]) -> None:
    """A stack without `keys` keeps them. One with `keys: {}` is refused; a dry run names the keys that would go."""
    assert (await change(served.client, unsaid))["state"] == "done"
    refused = await served.client.post("/admin/v1/stack", json=removed)
    assert refused.status_code == 400
    assert "server.keys" in refused.json()["error"]["message"]
    for document, gone in ((unsaid, []), (removed, ["ops"])):
        dry = (await served.client.post("/admin/v1/stack", json=document | {"dry_run": True})).json()
        assert dry["server"]["keys_removed"] == gone
        assert dry["server"]["open"] == bool(gone)
        assert ("no key remains" in describe(dry)) == bool(gone)
    async with httpx.AsyncClient(base_url=served.client.base_url) as stranger:
        assert (await stranger.post("/v1/completions", json=ASK)).status_code == 401
