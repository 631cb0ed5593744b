"""What asks for the same becomes the same request; what asks for something stays."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from serve.api.http import encode_object, parse_object
from serve.api.normalise import CHAT, COMPLETIONS, TOKENIZE, normalised
from variants.errors import InputError

HELLO = [{"role": "user", "content": "hello"}]


def chat(**more: Any) -> dict[str, Any]:
    return normalised(CHAT, {"model": "m", "messages": HELLO} | more)


def completion(**more: Any) -> dict[str, Any]:
    return normalised(COMPLETIONS, {"model": "m", "prompt": "hello"} | more)


def said(*contents: Any) -> list[Any]:
    """The contents as every engine gets them."""
    asked = chat(messages=[{"role": "user", "content": content} for content in contents])
    return [message["content"] for message in asked["messages"]]


@pytest.mark.parametrize(
    "more",
    [
        {"tools": None, "seed": None, "a_field_of_tomorrow": None},
        {"n": 1, "stream": False, "logprobs": False, "echo": False},
        {"response_format": {"type": "text"}, "modalities": ["text"], "tools": [], "tool_choice": "auto"},
        {"tool_choice": "none", "function_call": "none", "parallel_tool_calls": True},
        {"stop": [], "logit_bias": {}, "stop_token_ids": [], "metadata": {}},
        {"stream_options": {"include_usage": False, "include_obfuscation": True, "continuous_usage_stats": True}},
        {"stream_options": {"include_usage": None}},
        {"top_logprobs": 0, "cache_control": {"type": "ephemeral"}},
        {"service_tier": "auto", "store": False, "best_of": 1, "extra_body": {}, "early_stopping": False},
        {"response_format": {"type": "text", "json_schema": None}},
    ],
)
def test_what_asks_for_nothing_is_left_out(more: dict[str, Any]) -> None:
    assert chat(**more) == {"model": "m", "messages": HELLO}
    assert completion(**more) == {"model": "m", "prompt": "hello"}


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"n": True},
        {"logprobs": 0},
        {"echo": True},
        {"temperature": 1, "top_p": 1, "repetition_penalty": 1, "presence_penalty": 0, "top_k": -1, "min_p": 0},
        {"response_format": {"type": "json_object"}},
        {"tools": [{"type": "function"}], "tool_choice": "none"},
        {"stop": "\n"},
        {"user": "ann", "safety_identifier": "ann", "prompt_cache_key": "k"},
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
        {"add_generation_prompt": False, "ignore_eos": True},
    ],
)
def test_what_asks_for_something_stays(more: dict[str, Any]) -> None:
    assert completion(**more) == {"model": "m", "prompt": "hello"} | more


def test_the_request_itself_is_not_changed() -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "a"}], "name": None}
    document = {"model": "m", "messages": [message], "stream_options": {"include_usage": False}, "n": None}
    before = parse_object(encode_object(document))
    normalised(CHAT, document)
    assert document == before


@pytest.mark.parametrize("bias", [{"5": "50"}, {"5": True}, {"5": "much"}, {"5": [1]}, []])
def test_a_bias_in_range_or_of_another_type_is_left_to_the_engine(bias: Any) -> None:
    assert chat(logit_bias=bias).get("logit_bias") == bias


def test_the_newer_name_of_a_limit_counts() -> None:
    assert chat(max_tokens=7, max_completion_tokens=5)["max_completion_tokens"] == 5
    assert "max_tokens" not in chat(max_tokens=7, max_completion_tokens=5)
    assert completion(max_tokens=7, max_completion_tokens=5) == {"model": "m", "prompt": "hello", "max_tokens": 5}
    assert completion(max_tokens=7, max_completion_tokens=None)["max_tokens"] == 7


@pytest.mark.parametrize("path", [CHAT, TOKENIZE])
def test_an_answer_of_ours_is_history(path: str) -> None:
    answer: dict[str, Any] = {
        "role": "assistant", "content": "Hello!", "refusal": None, "annotations": [], "audio": None,
        "function_call": None, "tool_calls": [], "reasoning": None,
    }  # fmt: skip
    asked = normalised(path, {"model": "m", "messages": [*HELLO, answer]})
    assert asked["messages"] == [*HELLO, {"role": "assistant", "content": "Hello!"}]


def test_a_content_that_is_null_or_not_there_is_empty() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    asked = chat(messages=[{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "assistant"}])
    assert asked["messages"] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "assistant", "content": ""},
    ]


def test_text_in_parts_is_one_text() -> None:
    part = {"type": "text", "text": "The capital of", "cache_control": {"type": "ephemeral"}}
    other = {"type": "input_text", "text": "France is", "citations": []}
    assert said([part, other], [part], [], ["a", "b"]) == ["The capital of\nFrance is", "The capital of", "", "a\nb"]
    assert said([{"type": "text", "text": ""}, other, {"type": "text", "text": None}]) == ["France is"]


@pytest.mark.parametrize(
    "content",
    [7, {"type": "text"}, [{"type": "image_url", "image_url": {"url": "data:,"}}], [{"type": "text", "text": 7}], [7],
     [{"text": "a"}], [{"type": ["text"], "text": "a"}]],
)  # fmt: skip
def test_what_is_no_text_is_left_to_the_engine(content: Any) -> None:
    assert said(content) == [content]


def test_marks_are_taken_off_other_parts_too() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    marked = [picture | {"cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "a"}]
    assert said(marked) == [[picture, {"type": "text", "text": "a"}]]


@pytest.mark.parametrize("messages", ["hello", {}, 7, [], ["hello"], [7], [None]])
def test_messages_that_are_none_are_left_to_the_engine(messages: Any) -> None:
    assert chat(messages=messages)["messages"] == messages


@pytest.mark.parametrize(
    ("prompt", "same"),
    [(["a"], "a"), ([[1, 2]], [1, 2]), ([1, 2], [1, 2]), ([1], [1]), (["a", "b"], ["a", "b"]), ([], [])],
)
def test_a_list_of_one_prompt_is_that_prompt(prompt: Any, same: Any) -> None:
    assert completion(prompt=prompt)["prompt"] == same


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"top_logprobs": 3, "logprobs": False}, "top_logprobs"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": ["a", ""]}, "stop"),
        ({"stop": "b" * 257}, "stop"),
        ({"stop": 7}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"continue_final_message": True}, "continue_final_message"),
        ({"logit_bias": {"5": 100.5}}, "logit_bias.5"),
        ({"logit_bias": {"5": 1, "6": -101}}, "logit_bias.6"),
        ({"logit_bias": {"5": "1", "6": "500"}}, "logit_bias.6"),
        ({"logit_bias": {"5": "nan"}}, "logit_bias.5"),
        ({"logit_bias": {"5": 10**400}}, "logit_bias.5"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        chat(**more)
    assert refused.value.field == field
    assert refused.value.mend


def test_other_routes_lose_null_fields_alone() -> None:
    asked = {"model": "m", "input": ["hello"], "encoding_format": None, "dimensions": None, "user": "ann"}
    assert normalised("/v1/embeddings", asked) == {"model": "m", "input": ["hello"], "user": "ann"}


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        (b'{"prompt": "\\ud800"}', "prompt", "half a character"),
        (b'{"messages": [{"role": "user", "content": "a \\udc00 b"}]}', "messages", "half a character"),
        (b'{"\\ud83d": 1}', None, "half a character"),
        (b'{"temperature": NaN}', "temperature", "finite"),
        (b'{"logit_bias": {"5": 1e999}}', "logit_bias", "finite"),
    ],
)
def test_what_no_engine_can_read_is_refused_by_name(body: bytes, field: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says) as refused:
        encode_object(parse_object(body))
    assert refused.value.field == field


def test_whole_characters_pass() -> None:
    body = '{"prompt": "naïve 日本語 👍 \\ud83d\\udc4d \\\\ud800"}'.encode()
    assert parse_object(encode_object(parse_object(body))) == parse_object(body)


def seconds(work: Callable[..., object], *args: object) -> float:
    begun = time.perf_counter()
    work(*args)
    return time.perf_counter() - begun


def test_an_ordinary_body_costs_little() -> None:
    document = {
        "model": "m", "max_tokens": 64, "temperature": 0.7, "stream": True, "user": "ann",
        "messages": [{"role": "user", "content": "a question of some length " * 8}] * 9,
    }  # fmt: skip
    body = json.dumps(document)
    took = [(seconds(json.loads, body), seconds(normalised, CHAT, document)) for _ in range(50)]
    parsing, normalising = (min(column) for column in zip(*took, strict=True))
    assert normalising < 20 * parsing
