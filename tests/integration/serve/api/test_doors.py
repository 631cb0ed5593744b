"""Health without a key, pages of other origins, header values in UTF-8, and shadows of translated requests."""

import asyncio
from pathlib import Path

import httpx
import pytest

from serve.config.server.api_keys import Key
from serve.config.server.cross_origin import Cors
from serve.config.stack import Stack
from tests.integration.serve.api.test_authentication import TRAFFIC, bearer, family_of, key, shadowed
from tests.support.family import change
from tests.support.local_stage import local

pytestmark = pytest.mark.integration
CHAT, INFER = "/v1/chat/completions", "/v2/models/digits/infer"
PAGE = "http://localhost:5173"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST"}
ASK = {"model": "echo", "prompt": "is it pos", "max_tokens": 1, "temperature": 0}


def with_server(stack: Stack, origins: tuple[str, ...], **keys: Key) -> Stack:
    return stack.model_copy(
        update={"server": stack.server.model_copy(update={"keys": keys, "cors": Cors(origins=origins)})}
    )


async def test_who_may_ask_from_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    stack = with_server(family.stack, (PAGE,), ops=key("root", admin=True), shop=key("penny"))
    async with local(tmp_path, stack, family.artifacts) as served:
        client = served.client
        await answers_health(client)
        await opens_to_the_page(client)
        await reads_either_key(client)
        closed = {"stack": family.stack.model_dump(mode="json", by_alias=True)}
        closed["stack"]["server"]["keys"] = stack.model_dump(mode="json", by_alias=True)["server"]["keys"]
        client.headers.update(bearer("root"))
        assert (await change(client, {**family.proposal(), **closed}))["state"] == "done"
        assert (await client.options(CHAT, headers=PREFLIGHT)).status_code == 405


async def answers_health(client: httpx.AsyncClient) -> None:
    for path in ("/health", "/ping"):
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200
    assert (await client.post("/ping")).status_code == 200
    assert (await client.get("/v2")).status_code == 401


async def opens_to_the_page(client: httpx.AsyncClient) -> None:
    """A preflight needs no key; the request that follows needs one. `/admin` is never opened."""
    for path in (CHAT, INFER, "/v1/responses"):
        asked = {**PREFLIGHT, "access-control-request-headers": "authorization,content-type"}
        answer = await client.options(path, headers=asked)
        assert answer.status_code == 200, path
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
    refused = await client.get("/v1/models", headers={"origin": PAGE})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
    models = await client.get("/v1/models", headers={"origin": PAGE, **bearer("penny")})
    assert (models.status_code, models.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-understudy-variant" in models.headers["access-control-expose-headers"]
    stranger = await client.options(CHAT, headers={**PREFLIGHT, "origin": "http://evil.example"})
    assert "access-control-allow-origin" not in stranger.headers
    for admin in (
        await client.options("/admin/v1/stack", headers=PREFLIGHT),
        await client.get("/admin/v1/stack", headers={"origin": PAGE, **bearer("root")}),
    ):
        assert (admin.status_code, "access-control-allow-origin" in admin.headers) == (403, False)


async def reads_either_key(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/completions", json=ASK, headers={"x-api-key": "penny"})).status_code == 200
    assert (await client.post("/v1/completions", json=ASK, headers={"x-api-key": "wrong"})).status_code == 401
    both = {"x-api-key": "penny", **bearer("wrong")}
    assert (await client.post("/v1/completions", json=ASK, headers=both)).status_code == 401


async def test_a_header_in_utf8_is_the_text_that_it_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same client by `user` and by header is one client; a label in UTF-8 is scored."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    family.variants["int8"]["weight"] = 1
    async with local(tmp_path, family.stack, family.artifacts) as served:
        for name in ("Zoë", "日本", "naïve", "José", "Øystein", "Ünal"):
            by_body = await served.client.post("/v1/completions", json={**ASK, "user": name})
            by_header = await served.client.post(
                "/v1/completions", json=ASK, headers=[(b"x-understudy-client", name.encode())]
            )
            variants = [each.headers["x-understudy-variant"] for each in (by_body, by_header)]
            assert len(set(variants)) == 1, name
        labelled = {**ASK, "model": "echo@int8", "prompt": "größe mal", "max_tokens": 2}
        headers = [(b"x-understudy-label", "größe".encode()), (b"x-understudy-task", b"r8")]
        answer = await served.client.post("/v1/completions", json=labelled, headers=headers)
        assert answer.json()["choices"][0]["text"].strip().startswith("größe")
        metrics = (await served.client.get("/metrics")).text
        right = [line for line in metrics.splitlines() if 'outcome="right",task="r8",variant="int8"' in line]
        assert [line.rpartition(" ")[2] for line in right if "requests_total" in line] == ["1.0"]


async def test_every_door_is_sampled_for_shadows_like_its_route(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    turns = [{"role": "user", "content": "is it pos"}]
    async with local(tmp_path, with_server(family.stack, (), root=key("root", admin=True)), family.artifacts) as served:
        served.client.headers.update(bearer("root"))
        shadows = {"weights": {"baseline": 1, "int8": 0}, "shadows": {"int8": 1.0}}
        moved = await served.client.put(TRAFFIC, json=shadows, headers={"if-match": "*"})
        assert moved.status_code == 200, moved.text
        label = {"x-understudy-label": "pos", "x-understudy-task": "r8"}
        for path, body in (
            ("/v1/responses", {"input": "is it pos"}),
            ("/v1/messages", {"messages": turns, "max_tokens": 8}),
            ("/v1/chat/completions", {"messages": turns}),
        ):
            answer = await served.client.post(path, json={"model": "echo", **body}, headers=label)
            assert answer.status_code == 200, answer.text
        for _ in range(100):
            if await shadowed(served) == 3:
                break
            await asyncio.sleep(0.1)
        assert await shadowed(served) == 3
        opted_out = {**label, "x-understudy-shadow": "off"}
        answer = await served.client.post("/v1/responses", json={"model": "echo", "input": "a"}, headers=opted_out)
        assert answer.status_code == 200
        await asyncio.sleep(1.5)
        assert await shadowed(served) == 3
