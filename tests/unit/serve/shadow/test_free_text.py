"""How answers that models write by themselves are asked for and read."""

import json
from typing import Any

import pytest

from serve.shadow.free_text import answer_of, answer_of_stream, free_request, is_repeatable
from variants.evidence.free_running import FreeAnswer


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        ({"temperature": 0}, {"temperature": 0, "max_tokens": 52}),
        ({"seed": 3, "temperature": 1}, {"seed": 3, "temperature": 1, "max_tokens": 52}),
        ({}, {"temperature": 0, "max_tokens": 52}),
        ({"temperature": 0.7, "max_tokens": 12}, {"temperature": 0, "max_tokens": 12}),
        ({"seed": 1, "max_completion_tokens": 1000}, {"seed": 1, "max_completion_tokens": 52}),
        ({"seed": 1, "min_tokens": 100}, {"seed": 1, "min_tokens": 100, "max_tokens": 100}),
        ({"seed": 1, "stream": True, "stream_options": {"include_usage": True}}, {"seed": 1, "max_tokens": 52}),
    ],
)
def test_an_answer_of_ten_tokens_is_asked_for_again(request_: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert free_request(request_, 10) == wanted


def test_a_request_is_repeatable_at_temperature_0_or_with_a_seed() -> None:
    assert is_repeatable({"temperature": 0.0})
    assert is_repeatable({"seed": 0, "temperature": 1})
    assert not is_repeatable({"temperature": 1})
    assert not is_repeatable({})


def function(name: str | None, arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"text": " so", "finish_reason": "length"}, FreeAnswer(" so", "length")),
        ({"message": {"content": "so"}, "finish_reason": "stop"}, FreeAnswer("so", "stop")),
        ({"message": {"content": None}}, FreeAnswer("")),
        (
            {"message": {"content": None, "tool_calls": [{"function": function("f", "{}")}]}},
            FreeAnswer("", None, (("f", "{}"),)),
        ),
    ],
)
def test_an_answer_is_read(choice: dict[str, Any], wanted: FreeAnswer) -> None:
    assert answer_of(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}}).encode()) == wanted


def frames(*deltas: dict[str, Any]) -> bytes:
    lines = [b"data: " + json.dumps({"choices": [delta]}).encode() for delta in deltas]
    return b"\n\n".join([*lines, b'data: {"choices":[],"usage":{}}', b"data: [DONE]", b""])


def test_a_stream_is_read() -> None:
    body = frames(
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {"content": "so"}},
        {"delta": {"tool_calls": [{"index": 0, "function": function("f", "")}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": '{"a"'}}]}},
        {"delta": {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]}},
        {"delta": {"tool_calls": [{"index": 1, "function": function("g", "{}")}]}},
        {"delta": {}, "finish_reason": "tool_calls"},
    )  # fmt: skip
    assert answer_of_stream(body) == FreeAnswer("so", "tool_calls", (("f", '{"a":1}'), ("g", "{}")))
    assert answer_of_stream(frames({"text": "a"}, {"text": "b", "finish_reason": "stop"})) == FreeAnswer("ab", "stop")
