"""Streams of chats as events: reasoning, text and tools in one answer, in frames as vLLM sends them."""

import json
from typing import Any

import pytest

from serve.api.chats.messages import MESSAGES
from serve.api.chats.responses import RESPONSES
from serve.api.limits.bodies import unbounded
from serve.api.translated import Door, TranslatedAnswer

DELTAS: list[dict[str, Any]] = [
    {"role": "assistant", "content": ""},
    {"reasoning": "so"},
    {"reasoning": " then"},
    {"content": "Let me"},
    {"content": " see."},
    {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "weather", "arguments": ""}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ' "Rome"}'}}]},
    {"tool_calls": [{"index": 1, "id": "call_2", "function": {"name": "time", "arguments": "{}"}}]},
]
USAGE = {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}


def frames(deltas: list[dict[str, Any]], finish: str = "tool_calls", error: dict[str, Any] | None = None) -> bytes:
    """A stream of a chat."""
    documents: list[dict[str, Any]] = [
        {"id": "c", "created": 7, "model": "m@v", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
        for delta in deltas
    ]
    if error is None:
        documents.append({"choices": [{"index": 0, "delta": {}, "finish_reason": finish, "stop_reason": None}]})
        documents.append({"choices": [], "usage": USAGE})
    else:
        documents.append({"error": error})
    return b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in documents) + b"data: [DONE]\n\n"


async def events(door: Door, body: bytes, size: int, **fields: Any) -> list[dict[str, Any]]:
    """What a client gets for a stream that comes in pieces of `size` bytes."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    answer = TranslatedAnswer(door, door.translate({"model": "m", "stream": True, **fields}), send, unbounded())
    head = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-understudy-variant", b"v")]
    await answer.send({"type": "http.response.start", "status": 200, "headers": head})
    for at in range(0, len(body), size):
        await answer.send({"type": "http.response.body", "body": body[at : at + size], "more_body": True})
    await answer.send({"type": "http.response.body", "body": b"", "more_body": False})
    assert sent[0]["headers"] == head
    assert [message["more_body"] for message in sent[1:]] == [True] * (len(sent) - 2) + [False]
    parts = b"".join(message["body"] for message in sent[1:]).split(b"\n\n")[:-1]
    return [json.loads(part.split(b"\ndata: ")[1]) for part in parts]


async def response(body: bytes, size: int = 10_000) -> list[dict[str, Any]]:
    return await events(RESPONSES, body, size, input="hi")


async def message(body: bytes, size: int = 10_000) -> list[dict[str, Any]]:
    return await events(MESSAGES, body, size, messages=[{"role": "user", "content": "hi"}], max_tokens=9)


@pytest.mark.parametrize("size", [1, 37, 10_000])
async def test_a_response_has_an_item_for_each_block(size: int) -> None:
    seen = await response(frames(DELTAS), size)
    last = seen[-1]
    assert last["type"] == "response.completed"
    output = last["response"]["output"]
    assert [item["type"] for item in output] == ["reasoning", "message", "function_call", "function_call"]
    assert output[0]["content"] == [{"type": "reasoning_text", "text": "so then"}]
    assert output[1]["content"][0]["text"] == "Let me see."
    calls = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in output[2:]]
    assert calls == [("call_1", "weather", {"city": "Rome"}), ("call_2", "time", {})]
    assert last["response"]["usage"]["total_tokens"] == 14
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    done = [event["item"] for event in seen if event["type"] == "response.output_item.done"]
    assert done == output
    added = [event["item"] for event in seen if event["type"] == "response.output_item.added"]
    assert [item["id"] for item in added] == [item["id"] for item in output]
    for at, item in enumerate(output):
        deltas = [event for event in seen if event["type"].endswith(".delta") and event["output_index"] == at]
        assert {event["item_id"] for event in deltas} == {item["id"]}


@pytest.mark.parametrize("size", [1, 37, 10_000])
async def test_a_message_has_a_content_block_for_each(size: int) -> None:
    seen = await message(frames(DELTAS), size)
    started = [event["content_block"] for event in seen if event["type"] == "content_block_start"]
    assert [block["type"] for block in started] == ["thinking", "text", "tool_use", "tool_use"]
    assert started[2] == {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    grown = ["", "", "", ""]
    for event in seen:
        if event["type"] == "content_block_delta":
            grown[event["index"]] += next(value for name, value in event["delta"].items() if name != "type")
    assert grown == ["so then", "Let me see.", '{"city": "Rome"}', "{}"]
    assert [event["index"] for event in seen if event["type"] == "content_block_stop"] == [0, 1, 2, 3]
    assert seen[-2]["delta"]["stop_reason"] == "tool_use"
    assert (seen[-2]["usage"]["input_tokens"], seen[-2]["usage"]["output_tokens"]) == (5, 9)
    assert seen[-1] == {"type": "message_stop"}


async def test_an_answer_without_a_word_has_one_empty_text() -> None:
    silent = frames([{"role": "assistant", "content": ""}], "stop")
    (item,) = (await response(silent))[-1]["response"]["output"]
    assert item["content"][0]["text"] == ""
    started = [event["content_block"] for event in await message(silent) if event["type"] == "content_block_start"]
    assert started == [{"type": "text", "text": ""}]


async def test_an_error_ends_the_stream_and_nothing_follows() -> None:
    error = {"message": "the engine ended", "type": "server_error", "param": None, "code": "engine_error"}
    broken = frames([{"content": "Let"}], error=error)
    failed = (await response(broken))[-1]
    assert failed["type"] == "response.failed"
    assert failed["response"]["error"] == {"code": "server_error", "message": "the engine ended"}
    last = (await message(broken))[-1]
    assert last == {"type": "error", "error": {"type": "api_error", "message": "the engine ended"}}


async def test_a_forced_call_ends_a_message_with_tool_use() -> None:
    assert (await message(frames(DELTAS[5:8], "stop")))[-2]["delta"]["stop_reason"] == "tool_use"
    assert (await message(frames(DELTAS[5:7], "length")))[-2]["delta"]["stop_reason"] == "max_tokens"
