"""OpenAI's Responses over real engines, with the official client."""

import gzip
import json
from typing import Any

import httpx
import openai
import pytest
import pytest_asyncio
from openai.types.responses import Response, ResponseCompletedEvent

from tests.support.local_stage import Local

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]
ASK: dict[str, Any] = {"model": "echo", "input": "alpha beta gamma", "temperature": 0, "max_output_tokens": 64}
ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest_asyncio.fixture(loop_scope="module")
async def client(door: Local) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.client.base_url}/v1", api_key="none", max_retries=0)


async def chat(door: Local, **body: Any) -> dict[str, Any]:
    answer = await door.client.post("/v1/chat/completions", json={"model": "echo", "temperature": 0, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_a_response_says_what_the_chat_says(door: Local, client: openai.AsyncOpenAI) -> None:
    raw = await client.responses.with_raw_response.create(**ASK)
    response = raw.parse()
    wanted = await chat(door, messages=[{"role": "user", "content": "alpha beta gamma"}])
    assert response.output_text == wanted["choices"][0]["message"]["content"] != ""
    assert (response.status, response.object, response.model) == ("completed", "response", "echo")
    assert raw.headers["x-understudy-variant"] in ("baseline", "int8")
    assert raw.headers["x-understudy-artifact"]
    assert response.usage is not None
    counts = [wanted["usage"][name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    assert [response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens] == counts
    Response.model_validate(response.model_dump(), strict=False)


async def test_a_stream_has_every_event_once_and_in_order(client: openai.AsyncOpenAI) -> None:
    whole = await client.responses.create(**ASK)
    events = [event async for event in await client.responses.create(**ASK, stream=True)]
    kinds = [event.type for event in events]
    assert list(dict.fromkeys(kinds)) == ORDER
    assert kinds.count("response.output_text.delta") > 3
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert isinstance(last, ResponseCompletedEvent)
    assert text == last.response.output_text == whole.output_text
    assert last.response.usage == whole.usage
    done = next(event for event in events if event.type == "response.output_item.done")
    assert done.item == last.response.output[0]


async def test_the_clients_own_accumulator_reads_the_stream(client: openai.AsyncOpenAI) -> None:
    async with client.responses.stream(**ASK) as stream:
        response = await stream.get_final_response()
    assert response.output_text == (await client.responses.create(**ASK)).output_text


async def test_a_conversation_is_the_same_chat(door: Local, client: openai.AsyncOpenAI) -> None:
    """Instructions, every kind of turn, and an answer of ours sent back."""
    first = await client.responses.create(**ASK)
    turns: Any = [
        {"role": "user", "content": "alpha beta gamma"},
        *[item.model_dump() for item in first.output],
        {"id": "rs_1", "type": "reasoning", "summary": []},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "and delta"}]},
    ]
    second = await client.responses.create(**{**ASK, "input": turns}, instructions="be brief")
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "alpha beta gamma"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "and delta"},
    ]
    wanted = await chat(door, messages=messages, max_tokens=64)
    assert second.output_text == wanted["choices"][0]["message"]["content"]
    assert second.instructions == "be brief"


async def test_an_answer_that_is_cut_says_so(client: openai.AsyncOpenAI) -> None:
    short = {**ASK, "max_output_tokens": 2}
    response = await client.responses.create(**short)
    assert response.status == "incomplete"
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == "max_output_tokens"
    last = [event async for event in await client.responses.create(**short, stream=True)][-1]
    assert last.type == "response.incomplete"
    assert last.response.status == "incomplete"
    assert last.response.output[0].status == "incomplete"


async def test_logprobs_come_with_the_text(client: openai.AsyncOpenAI) -> None:
    asked = {**ASK, "include": ["message.output_text.logprobs"], "top_logprobs": 2, "max_output_tokens": 3}
    response = await client.responses.create(**asked)
    entries = response.output[0].content[0].logprobs
    assert len(entries) == 3
    assert all(entry.logprob == -0.25 and len(entry.top_logprobs) == 2 for entry in entries)
    events = [event async for event in await client.responses.create(**asked, stream=True)]
    streamed = [entry for event in events if event.type == "response.output_text.delta" for entry in event.logprobs]
    assert [entry.token for entry in streamed] == [entry.token for entry in entries]


async def test_a_client_stays_by_each_of_its_names(client: openai.AsyncOpenAI) -> None:
    async def variant(**options: Any) -> tuple[str, str]:
        raw = await client.responses.with_raw_response.create(**ASK, **options)
        return raw.headers["x-understudy-variant"], raw.headers["x-understudy-reason"]

    for name in ("ann", "bob", "cid", "Zoë"):
        by_user = await variant(user=name)
        assert by_user == await variant(safety_identifier=name)
        assert by_user[1] == "sticky"
    assert await variant(extra_headers={"x-understudy-client": "bob"}) == await variant(user="bob")
    pinned = await client.responses.with_raw_response.create(**{**ASK, "model": "echo@int8"})
    assert (pinned.headers["x-understudy-variant"], pinned.headers["x-understudy-reason"]) == ("int8", "pinned")


async def test_a_labelled_response_is_scored_and_every_token_counted(door: Local) -> None:
    async def value(start: str) -> float:
        lines = (await door.client.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(start))

    right = 'understudy_labelled_requests_total{model="echo",outcome="right",task="r8",variant="int8"}'
    tokens = 'understudy_output_tokens_total{model="echo",variant="int8"}'
    before = [await value(right), await value(tokens)]
    body = {**ASK, "model": "echo@int8", "max_output_tokens": 1}
    headers = {"x-understudy-label": "user", "x-understudy-task": "r8"}
    answer = await door.client.post("/v1/responses", json=body, headers=headers)
    assert answer.json()["output"][0]["content"][0]["text"] == "user"
    assert [await value(right) - before[0], await value(tokens) - before[1]] == [1, 1]


@pytest.mark.parametrize(
    ("change", "status", "param", "says"),
    [
        ({"model": None}, 400, "model", "is missing"),
        ({"model": "gpt"}, 404, "model", "models are echo, bands, near"),
        ({"model": "near"}, 400, "model", "/v1/embeddings"),
        ({"input": None}, 400, "input", "is missing"),
        ({"input": 7}, 400, "input", "7 was sent"),
        ({"input": []}, 400, "input", "at least 1"),
        ({"input": [7]}, 400, "input[0]", "object with a type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, 400, "input[0].content[0]", "input_file"),
        ({"input": [{"role": "user"}, {"type": "item_reference", "id": "x"}]}, 400, "input[1]", "item_reference"),
        ({"input": [{"role": "robot", "content": "x"}]}, 400, "input[0].role", "'robot' was sent"),
        ({"input": [{"role": "user", "content": "x", "colour": 1}]}, 400, "input[0].colour", "not supported"),
        ({"input": [{"type": "function_call", "name": "f"}]}, 400, "input[0].call_id", "is missing"),
        ({"input": "word " * 4000}, 400, "input", "2048"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id", "send the whole conversation in input"),
        ({"conversation": "conv_1"}, 400, "conversation", "not supported"),
        ({"background": True}, 400, "background", "True was sent"),
        ({"max_output_tokens": 0}, 400, "max_output_tokens", "0 was sent"),
        ({"max_output_tokens": "9"}, 400, "max_output_tokens", "'9' was sent"),
        ({"max_output_tokens": 4000}, 400, "max_output_tokens", "2048"),
        ({"temperature": 7}, 400, "temperature", "2"),
        ({"tools": [{"type": "web_search"}]}, 400, "tools[0]", "types are function"),
        ({"tools": [{"type": "function", "name": ""}]}, 400, "tools[0].name", "at least 1"),
        ({"tool_choice": "maybe"}, 400, "tool_choice", "'maybe' was sent"),
        ({"text": {"format": {"type": "xml"}}}, 400, "text.format", "types are"),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, 400, "text.format.schema", "is missing"),
        ({"stream": "yes"}, 400, "stream", "'yes' was sent"),
        ({"colour": "red"}, 400, "colour", "leave it out"),
    ],
)
async def test_bad_requests_name_the_field_and_the_mend(
    door: Local, change: dict[str, Any], status: int, param: str, says: str
) -> None:
    answer = await door.client.post("/v1/responses", json={**ASK, **change})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"]) == (status, param), error
    assert says in error["message"]
    assert error["message"].startswith(param)
    assert set(error) == {"message", "type", "param", "code"}


async def test_what_asks_for_nothing_is_taken(door: Local) -> None:
    nothing: dict[str, Any] = dict.fromkeys(
        (
            "instructions",
            "max_output_tokens",
            "metadata",
            "previous_response_id",
            "reasoning",
            "include",
            "text",
            "user",
        )
    )
    nothing |= {"store": True, "truncation": "disabled", "tools": [], "tool_choice": "auto", "top_p": None}
    nothing |= {"parallel_tool_calls": True, "text": {"format": {"type": "text"}, "verbosity": None}, "stream": None}
    nothing |= {"background": False, "service_tier": "auto", "include": ["reasoning.encrypted_content"]}
    answer = await door.client.post("/v1/responses", json={**ASK, **nothing})
    assert answer.status_code == 200, answer.text
    assert answer.json()["store"] is False


async def test_a_body_that_is_no_object_is_refused(door: Local) -> None:
    for body in (b"{", b"[]", b"[" * 100_000, b""):
        answer = await door.client.post("/v1/responses", content=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request"), body[:3]
    async with httpx.AsyncClient(base_url=door.client.base_url) as client:
        assert (await client.get("/v1/responses")).status_code == 405


async def test_a_compressed_body_is_read(door: Local) -> None:
    body = gzip.compress(json.dumps(ASK).encode())
    answer = await door.client.post("/v1/responses", content=body, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"][0]["content"][0]["text"]
