"""Requests of Responses and Messages as chats: conversations with tools, pictures and schemas."""

from typing import Any

import pytest
from anthropic.types import Message
from openai.types.responses import Response

from serve.api.chats.messages import MESSAGES
from serve.api.chats.responses import RESPONSES
from variants.errors import InputError

SCHEMA = {"type": "object", "properties": {"city": {"type": ["string", "null"]}}, "default": None}
CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
CHAT_TOOL = {"type": "function", "function": {"name": "weather", "description": "tells", "parameters": SCHEMA}}


def responses(**fields: Any) -> dict[str, Any]:
    return RESPONSES.translate({"model": "m", "input": "hi", **fields}).asked


def messages(**fields: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "hi"}]
    return MESSAGES.translate({"model": "m", "max_tokens": 9, "messages": turns, **fields}).asked


def test_a_plain_request_asks_for_nothing_else() -> None:
    turns = [{"role": "user", "content": "hi"}]
    assert responses() == {"model": "m", "messages": turns}
    assert messages() == {"model": "m", "messages": turns, "max_tokens": 9}


def test_calls_and_their_outputs_become_turns_of_a_chat() -> None:
    items = [
        {"role": "user", "content": "Weather in Rome?"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Rome"}'},
        {"type": "function_call", "call_id": "call_2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sun"},
        {"type": "function_call_output", "call_id": "call_2", "output": [{"type": "input_text", "text": "rain"}]},
    ]
    second = {"id": "call_2", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    assert responses(input=items)["messages"] == [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL, second]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
        {"role": "tool", "tool_call_id": "call_2", "content": "rain"},
    ]


def test_tool_uses_and_results_become_turns_of_a_chat() -> None:
    turns = [
        {"role": "user", "content": "Weather in Rome?"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Rome"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": "no such city", "is_error": True},
                {"type": "text", "text": "Try again."},
            ],
        },
    ]
    assert messages(messages=turns)["messages"] == [
        {"role": "user", "content": "Weather in Rome?"},
        {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Error: no such city"},
        {"role": "user", "content": "Try again."},
    ]


def test_tools_keep_their_schema_and_choice() -> None:
    tool = {"type": "function", "name": "weather", "description": "tells", "parameters": SCHEMA}
    for choice in ("none", "auto", "required"):
        assert responses(tools=[tool], tool_choice=choice)["tool_choice"] == choice
    asked = responses(tools=[tool], tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False)
    forced = {"type": "function", "function": {"name": "weather"}}
    assert (asked["tools"], asked["tool_choice"], asked["parallel_tool_calls"]) == ([CHAT_TOOL], forced, False)

    theirs = {"name": "weather", "description": "tells", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}
    for kind, choice in (("auto", "auto"), ("any", "required"), ("none", "none")):
        assert messages(tools=[theirs], tool_choice={"type": kind})["tool_choice"] == choice
    one = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    asked = messages(tools=[theirs], tool_choice=one)
    assert (asked["tools"], asked["tool_choice"], asked["parallel_tool_calls"]) == ([CHAT_TOOL], forced, False)
    assert "tools" not in messages(tools=[], tool_choice={"type": "auto"})


def test_pictures_and_schemas_are_passed_on() -> None:
    picture = {"type": "input_image", "image_url": "https://a.example/b.png"}
    (turn,) = responses(input=[{"role": "user", "content": [{"type": "input_text", "text": "see"}, picture]}])[
        "messages"
    ]
    assert turn["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://a.example/b.png", "detail": "auto"}},
    ]
    source = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    (turn,) = messages(messages=[{"role": "user", "content": [{"type": "image", "source": source}]}])["messages"]
    assert turn["content"] == [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    form = {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": True}
    wanted = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA, "strict": True}}
    assert responses(text={"format": form})["response_format"] == wanted
    assert responses(text={"format": {"type": "json_object"}})["response_format"] == {"type": "json_object"}
    config = {"format": {"type": "json_schema", "schema": SCHEMA}}
    assert messages(output_config=config)["response_format"]["json_schema"]["schema"] == SCHEMA


MARKS: dict[str, Any] = {
    "cache_control": {"type": "ephemeral"},
    "prompt_cache_breakpoint": {"mode": "explicit"},
    "provider_specific_fields": {"signature": "x"},
    "thinking_blocks": [],
}


def marked(value: Any) -> Any:
    """The value with marks on each of its objects, but none in a schema or in the input of a tool."""
    if isinstance(value, list):
        return [marked(each) for each in value]
    if not isinstance(value, dict):
        return value
    free = ("parameters", "input_schema", "schema", "metadata")
    inner = {
        k: each if k in free or (k == "input" and isinstance(each, dict)) else marked(each) for k, each in value.items()
    }
    return inner | MARKS


def test_marks_are_ignored_wherever_a_gateway_leaves_them() -> None:
    asked: dict[str, Any] = {
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]},
            {"type": "reasoning", "summary": []},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "b"}]},
        ],
        "tools": [{"type": "function", "name": "f", "parameters": SCHEMA}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}},
        "reasoning": {"effort": "low"},
    }
    assert responses(**marked(asked)) == responses(**asked)
    theirs: dict[str, Any] = {
        "system": [{"type": "text", "text": "s"}],
        "messages": [
            {"role": "user", "content": "a"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "s"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
                ],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "b"}]},
            {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://a.example/b"}}]},
        ],
        "tools": [{"name": "f", "input_schema": SCHEMA}],
        "tool_choice": {"type": "tool", "name": "f"},
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    assert messages(**marked(theirs)) == messages(**theirs)


def test_a_default_of_a_field_that_a_format_lacks_asks_for_nothing() -> None:
    defaults = {"n": 1, "stop": [], "extra_body": {}, "logit_bias": {}, "echo": False, "priority": 0}
    assert responses(**defaults) == responses()
    assert messages(**defaults) == messages()
    with pytest.raises(InputError, match="n: is not supported"):
        responses(n=2)


def test_defaults_that_are_sent_ask_for_nothing() -> None:
    tool = {"type": "function", "name": "f", "parameters": SCHEMA}
    told = {"allowed_callers": ["direct"], "async": False, "defer_loading": False, "strict": None}
    asked = {
        "top_logprobs": 0, "truncation": "disabled", "background": False, "service_tier": "auto", "store": True,
        "text": {"format": {"type": "text"}, "verbosity": "medium"}, "context_management": [], "max_tool_calls": 3,
        "reasoning": {"summary": "auto", "generate_summary": "auto", "context": "auto", "mode": "standard"},
        "image": {"context_compression": "auto"}, "prompt_cache_options": {"mode": "implicit", "ttl": "30m"},
        "include": [], "metadata": {}, "tools": [tool | told],
    }  # fmt: skip
    assert responses(**asked) == responses(tools=[tool])
    streamed = responses(stream=True, stream_options={"include_obfuscation": True})
    assert streamed == responses(stream=True)
    assert responses(top_logprobs=2)["logprobs"] is True

    theirs = {"name": "f", "input_schema": SCHEMA}
    told = {"allowed_callers": ["direct"], "defer_loading": False, "eager_input_streaming": False, "input_examples": []}
    source = {"type": "url", "url": "https://a.example/b"}
    turn = {"role": "user", "content": [{"type": "image", "source": source}]}
    sized = turn | {
        "content": [{"type": "image", "source": source, "transformations": {"oversized_image": "downsize"}}]
    }
    defaults = {"speed": "standard", "mcp_servers": [], "service_tier": "auto", "thinking": {"type": "disabled"}}
    asked = {"tools": [theirs | told], "messages": [sized], "stop_sequences": [], **defaults}
    assert messages(**asked) == messages(tools=[theirs], messages=[turn])


CHOICE = {
    "index": 0,
    "finish_reason": "tool_calls",
    "stop_reason": None,
    "logprobs": {"content": [{"token": "Let", "logprob": -0.1, "bytes": [76], "top_logprobs": []}]},
    "message": {
        "role": "assistant",
        "content": "Let me see.",
        "reasoning": "hm",
        "refusal": None,
        "tool_calls": [CALL],
    },
}
CHAT = {"created": 7, "choices": [CHOICE], "usage": {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}}
FIRST, NEXT = {"role": "user", "content": "Weather in Rome?"}, {"role": "user", "content": "Go on."}
SPOKEN = [FIRST, {"role": "assistant", "content": "Let me see.", "tool_calls": [CALL]}, NEXT]


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter"])
def test_an_answer_of_ours_is_history(finish: str) -> None:
    chat = CHAT | {"choices": [CHOICE | {"finish_reason": finish}]}
    response = RESPONSES.translate({"model": "m", "input": "hi"}).whole(chat)
    assert responses(input=[FIRST, *response["output"], NEXT])["messages"] == SPOKEN
    typed = Response.model_validate(response).model_dump(mode="json")["output"]
    assert responses(input=[FIRST, *typed, NEXT])["messages"] == SPOKEN

    message = MESSAGES.translate({"model": "m", "max_tokens": 9, "messages": [FIRST]}).whole(chat)
    assert messages(messages=[FIRST, message, NEXT])["messages"] == SPOKEN
    typed = Message.model_validate(message).model_dump(mode="json")
    assert messages(messages=[FIRST, typed, NEXT])["messages"] == SPOKEN


def test_a_null_content_is_empty() -> None:
    silent = {"role": "assistant", "content": ""}
    for turn in ({"role": "assistant", "content": None}, {"role": "assistant"}):
        assert messages(messages=[FIRST, turn, NEXT])["messages"] == [FIRST, silent, NEXT]
        assert responses(input=[FIRST, turn, NEXT])["messages"] == [FIRST, silent, NEXT]
    block = {"type": "text", "text": None}
    use = {"type": "tool_use", "id": "call_1", "name": "weather", "input": None}
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": None}
    turns = [FIRST, {"role": "assistant", "content": [block, use]}, {"role": "user", "content": [result]}]
    call = CALL | {"function": {"name": "weather", "arguments": "{}"}}
    said = [FIRST, silent | {"tool_calls": [call]}, {"role": "tool", "tool_call_id": "call_1", "content": ""}]
    assert messages(messages=turns)["messages"] == said
    items = [
        FIRST,
        {"role": "assistant", "content": [{"type": "output_text", "text": None, "annotations": None}]},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": None},
        {"type": "function_call_output", "call_id": "call_1", "output": None},
    ]
    said[1] = silent | {"tool_calls": [call | {"function": {"name": "weather", "arguments": ""}}]}
    assert responses(input=items)["messages"] == said


@pytest.mark.parametrize(
    "fields",
    [
        {"truncation": "auto"},
        {"context_management": [{"type": "compaction"}]},
        {"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
        {"reasoning": {"mode": "pro"}},
    ],
)
def test_what_is_no_default_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        responses(**fields)


def test_a_client_by_any_of_its_names() -> None:
    assert responses(safety_identifier="ann")["user"] == "ann"
    assert messages(user_profile_id="ann")["user"] == "ann"
    assert messages(user_profile_id="ann", metadata={"user_id": "bob"})["user"] == "bob"


def test_a_last_turn_of_the_assistant_is_continued() -> None:
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "I"}]
    asked = messages(messages=turns)
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert "continue_final_message" not in messages(messages=turns[:1])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"input": [{"type": "function_call_output", "call_id": 7, "output": "x"}]}, "input[0].call_id"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools[0].parameters"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"background": 0}, "background"),
        ({"stream": True, "stream_options": {"include_obfuscation": 0.0}}, "stream_options.include_obfuscation"),
    ],
)
def test_a_wrong_part_is_named_by_its_place(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        responses(**fields)
    assert refused.value.field == field


TEXT = {"type": "text", "text": "a"}


@pytest.mark.parametrize(
    ("block", "field"),
    [
        (TEXT | {"colour": 1}, ".colour"),
        (TEXT | {"text": 7}, ".text"),
        (TEXT | {"text": {"text": "a"}}, ".text"),
        ({"type": "image", "image": "x", "source": {"type": "url", "url": "u"}}, ".image"),
        ({"type": "image", "source": {"type": "url", "url": 7}}, ".source.url"),
        ({"type": "image", "source": {"type": "url"}}, ".source.url"),
        ({"type": "tool_use", "id": "c", "name": "f", "tool_use": {"a": 1}}, ".tool_use"),
        ({"type": "tool_result", "tool_use_id": "c", "content": {}}, ".content"),
        ({"type": "tool_result", "tool_use_id": "c", "content": [TEXT | {"colour": 1}]}, ".content[0].colour"),
        ({"type": "tool_result"}, ".tool_use_id"),
        ({"type": "audio"}, ""),
        ("a", ""),
    ],
)
def test_a_wrong_field_of_a_block_is_named(block: Any, field: str) -> None:
    with pytest.raises(InputError) as refused:
        messages(messages=[{"role": "user", "content": [block]}])
    assert refused.value.field == f"messages[0].content[0]{field}"


@pytest.mark.parametrize("content", [7, {}, {"text": "a"}, True])
def test_a_content_of_a_wrong_type_is_named(content: Any) -> None:
    with pytest.raises(InputError) as refused:
        messages(messages=[{"role": "user", "content": content}])
    assert refused.value.field == "messages[0].content"
    with pytest.raises(InputError) as refused:
        responses(input=[{"role": "user", "content": content}])
    assert refused.value.field == "input[0].content"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": {"format": {"type": "text", "text": 1}}}, "text.format.text"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"text": {"colour": 1}}, "text.colour"),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, "tool_choice.name"),
        ({"tool_choice": 7}, "tool_choice"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "a", "colour": 1}]}]},
         "input[0].content[0].colour"),
        ({"tools": [{"type": "function", "name": "f", "function": {}}]}, "tools[0].function"),
    ],
)  # fmt: skip
def test_a_wrong_field_of_responses_is_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as refused:
        responses(**fields)
    assert refused.value.field == field
