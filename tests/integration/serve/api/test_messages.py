"""Anthropic's Messages over real engines: the documented shapes over raw HTTP, and the official client."""

import asyncio
import json
from pathlib import Path
from typing import Any

import anthropic
import httpx
import pytest

from serve.ports import free_port
from tests.integration.serve.api.test_authentication import family_of, key, with_keys
from tests.support.local_stage import Local, local
from tests.support.scripted import echo_stack

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
TURNS: list[Any] = [{"role": "user", "content": "alpha beta gamma"}]
ASK: dict[str, Any] = {"model": "echo", "messages": TURNS, "temperature": 0, "max_tokens": 64}


BY_CLIENT: dict[str, Any] = {"model": "echo", "messages": TURNS, "max_tokens": 64, "extra_body": {"temperature": 0}}
"""The same for Anthropic's client, whose functions have no temperature any more."""


def client_of(door: Local, **more: Any) -> anthropic.AsyncAnthropic:
    return anthropic.AsyncAnthropic(base_url=str(door.client.base_url), max_retries=0, **{"api_key": "none", **more})


async def said(door: Local, **change: Any) -> dict[str, Any]:
    answer = await door.client.post("/v1/messages", json={**ASK, **change})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def chat_text(door: Local, messages: list[Any], **more: Any) -> str:
    body = {"model": "echo", "temperature": 0, "messages": messages, "max_tokens": 64, **more}
    answer = await door.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def events_of(body: str) -> list[tuple[str, dict[str, Any]]]:
    """A stream's events; every one names its type twice."""
    events = []
    for frame in body.split("\n\n")[:-1]:
        name, data = frame.split("\n")
        document = json.loads(data.removeprefix("data: "))
        assert name == f"event: {document['type']}"
        events.append((document["type"], document))
    return events


async def test_a_message_has_the_documented_shape(door: Local) -> None:
    answer = await door.client.post("/v1/messages", json=ASK, headers={"anthropic-version": "2023-06-01"})
    message = answer.json()
    assert set(message) == {
        *("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage")
    }  # fmt: skip
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"], message["model"]) == ("message", "assistant", "echo")
    assert message["content"] == [{"type": "text", "text": await chat_text(door, TURNS)}]
    assert (message["stop_reason"], message["stop_sequence"]) == ("end_turn", None)
    usage = message["usage"]
    assert usage["input_tokens"] > 0
    assert usage["output_tokens"] > 0
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.headers["x-understudy-variant"] in ("baseline", "int8")


async def test_a_stream_has_the_documented_events(door: Local) -> None:
    whole = await said(door)
    answer = await door.client.post("/v1/messages", json={**ASK, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = events_of(answer.text)
    kinds = [kind for kind, _ in events]
    assert list(dict.fromkeys(kinds)) == [
        *("message_start", "content_block_start", "content_block_delta", "content_block_stop"),
        *("message_delta", "message_stop"),
    ]
    start = events[0][1]["message"]
    assert (start["content"], start["stop_reason"], start["usage"]["output_tokens"]) == ([], None, 0)
    assert events[1][1]["content_block"] == {"type": "text", "text": ""}
    deltas = [event for kind, event in events if kind == "content_block_delta"]
    assert len(deltas) > 3
    assert {(each["index"], each["delta"]["type"]) for each in deltas} == {(0, "text_delta")}
    assert "".join(each["delta"]["text"] for each in deltas) == whole["content"][0]["text"]
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2][1]["usage"] == whole["usage"]


async def test_the_official_client_reads_both(door: Local) -> None:
    client = client_of(door)
    whole = await client.messages.create(**BY_CLIENT)
    async with client.messages.stream(**BY_CLIENT) as stream:
        text = "".join([part async for part in stream.text_stream])
        final = await stream.get_final_message()
    assert whole.content[0].type == "text"
    assert text == whole.content[0].text == final.content[0].text
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )


@pytest.mark.parametrize(
    ("change", "reason", "sequence"),
    [
        ({"max_tokens": 2}, "max_tokens", None),
        ({"stop_sequences": ["gamma"]}, "stop_sequence", "gamma"),
        ({"stop_sequences": ["nowhere"]}, "end_turn", None),
    ],
)
async def test_why_it_stopped_is_said(door: Local, change: dict[str, Any], reason: str, sequence: str | None) -> None:
    message = await said(door, **change)
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, sequence)
    assert "gamma" not in message["content"][0]["text"] or sequence is None
    streamed = await door.client.post("/v1/messages", json={**ASK, **change, "stream": True})
    last = events_of(streamed.text)[-2][1]
    assert last["delta"] == {"stop_reason": reason, "stop_sequence": sequence}


async def test_a_conversation_is_the_same_chat(door: Local) -> None:
    """System as text and in blocks, marks of caches, earlier answers and their thinking."""
    mark = {"cache_control": {"type": "ephemeral"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "alpha beta", **mark}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "one", "citations": None},
            ],
        },
        {"role": "user", "content": "and delta"},
    ]
    plain = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "alpha beta"},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": "and delta"},
    ]
    wanted = await chat_text(door, plain)
    for system in ("be brief", [{"type": "text", "text": "be brief", **mark}]):
        assert (await said(door, system=system, messages=turns))["content"][0]["text"] == wanted


async def test_a_user_id_stays_like_a_user(door: Local) -> None:
    async def variant(path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> list[str]:
        answer = await door.client.post(path, json=body, headers=headers)
        return [answer.headers["x-understudy-variant"], answer.headers["x-understudy-reason"]]

    for name in ("ann", "bob", "cid", "Zoë"):
        by_user_id = await variant("/v1/messages", {**ASK, "metadata": {"user_id": name}})
        assert by_user_id[1] == "sticky"
        assert by_user_id == await variant("/v1/chat/completions", {"model": "echo", "messages": TURNS, "user": name})
    assert await variant("/v1/messages", ASK, {"x-understudy-client": "bob"}) == await variant(
        "/v1/messages", {**ASK, "metadata": {"user_id": "bob"}}
    )


@pytest.mark.parametrize(
    ("change", "status", "kind", "says"),
    [
        ({"model": "gpt"}, 404, "not_found_error", "models are echo, bands, near"),
        ({"model": None}, 400, "invalid_request_error", "model: is missing"),
        ({"max_tokens": None}, 400, "invalid_request_error", "max_tokens: is missing"),
        ({"max_tokens": 0}, 400, "invalid_request_error", "max_tokens: "),
        ({"messages": []}, 400, "invalid_request_error", "messages: "),
        ({"messages": [{"role": "tool", "content": ""}]}, 400, "invalid_request_error", "messages[0].role: "),
        ({"messages": [{"role": "user", "content": 7}]}, 400, "invalid_request_error", "messages[0].content: "),
        (
            {"messages": [{"role": "user", "content": [{"type": "document"}]}]},
            400,
            "invalid_request_error",
            "messages[0].content[0]: the type 'document' is not supported here",
        ),
        ({"messages": [{"role": "user", "content": "w " * 9000}]}, 400, "invalid_request_error", "2048"),
        ({"temperature": 1.5}, 400, "invalid_request_error", "temperature: "),
        ({"thinking": {"type": "enabled", "budget_tokens": 9}}, 400, "invalid_request_error", "thinking."),
        ({"tools": [{"type": "bash_20250124", "name": "b"}]}, 400, "invalid_request_error", "tools[0]: "),
        ({"tools": [{"name": "b"}]}, 400, "invalid_request_error", "tools[0].input_schema: is missing"),
        ({"stop_sequences": "x"}, 400, "invalid_request_error", "stop_sequences: "),
        ({"stop_sequences": ["x"] * 20}, 400, "invalid_request_error", "stop_sequences"),
        ({"mcp_servers": [{"type": "url"}]}, 400, "invalid_request_error", "mcp_servers: "),
        ({"container": "c"}, 400, "invalid_request_error", "container: is not supported here"),
    ],
)
async def test_errors_have_anthropics_shape_and_name_the_field(
    door: Local, change: dict[str, Any], status: int, kind: str, says: str
) -> None:
    answer = await door.client.post("/v1/messages", json={**ASK, **change})
    document = answer.json()
    assert (answer.status_code, document["type"], document["error"]["type"]) == (status, "error", kind), document
    assert says in document["error"]["message"]
    assert set(document["error"]) == {"type", "message"}


async def test_paths_and_bodies_that_are_wrong_have_it_too(door: Local) -> None:
    for answer in [
        await door.client.get("/v1/messages"),
        await door.client.post("/v1/messages/nothing"),
        await door.client.post("/v1/messages", content=b"{"),
    ]:
        assert answer.status_code in (400, 404, 405)
        assert answer.json()["type"] == "error"
    with pytest.raises(anthropic.NotFoundError, match="models are echo"):
        await client_of(door).messages.create(**{**BY_CLIENT, "model": "gpt"})


async def test_anthropics_client_sends_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    family = family_of(tmp_path)
    async with local(tmp_path, with_keys(family.stack, shop=key("penny")), family.artifacts) as served:
        message = await client_of(served, api_key="penny").messages.create(**BY_CLIENT)
        assert message.stop_reason == "end_turn"
        with pytest.raises(anthropic.AuthenticationError) as refused:
            await client_of(served, api_key="wrong").messages.create(**BY_CLIENT)
        body: Any = refused.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")


async def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is killed under both doors' streams, and under an answer that is not streamed."""
    monkeypatch.setenv("UNDERSTUDY_HOME", str(tmp_path))
    long = {"model": "echo@int8", "max_tokens": 500, "messages": [{"role": "user", "content": "word " * 500}]}
    response = {"model": "echo@int8", "max_output_tokens": 500, "input": "word " * 500, "stream": True}
    async with local(tmp_path, echo_stack(free_port(), token_s=0.02)) as served:

        async def ask(path: str, body: dict[str, Any]) -> httpx.Response:
            return await served.client.post(path, json=body)

        asked = [
            asyncio.create_task(ask("/v1/messages", {**long, "stream": True})),
            asyncio.create_task(ask("/v1/responses", response)),
            asyncio.create_task(ask("/v1/messages", long)),
        ]
        await asyncio.sleep(1)
        process = served.engine("echo", "int8").process
        assert process is not None
        process.kill()
        message, response_stream, whole = await asyncio.gather(*asked)
    kinds = [kind for kind, _ in events_of(message.text)]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "error"
    assert "message_stop" not in kinds
    assert events_of(message.text)[-1][1]["error"]["type"] == "api_error"
    last = events_of(response_stream.text)[-1][1]
    assert last["type"] == "response.failed"
    assert last["response"]["status"] == "failed"
    assert last["response"]["error"]["code"] == "server_error"
    assert (whole.status_code, whole.json()["error"]["type"]) == (502, "api_error")
