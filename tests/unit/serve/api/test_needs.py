"""What a request needs is read from its fields, and nothing that asks for nothing counts."""

from typing import Any

import pytest

from serve.api.needs import needs_of

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOOL = {"type": "function", "function": {"name": "f"}}
PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}


@pytest.mark.parametrize(
    ("path", "fields", "needed"),
    [
        (CHAT, {"tools": [TOOL]}, {"tools": "tools"}),
        (CHAT, {"tools": [TOOL], "tool_choice": "none"}, {}),
        (CHAT, {"tools": []}, {}),
        (CHAT, {"tools": None}, {}),
        (CHAT, {"response_format": {"type": "json_schema"}}, {"json_schema": "response_format"}),
        (CHAT, {"response_format": {"type": "json_object"}}, {"json_schema": "response_format"}),
        (CHAT, {"response_format": {"type": "text"}}, {}),
        (CHAT, {"structured_outputs": {"choice": ["a"]}}, {"json_schema": "structured_outputs"}),
        (CHAT, {"logprobs": True}, {"logprobs": "logprobs"}),
        (CHAT, {"logprobs": False}, {}),
        (CHAT, {"logprobs": None, "echo": False}, {}),
        (COMPLETIONS, {"logprobs": 0}, {"logprobs": "logprobs"}),
        (COMPLETIONS, {"prompt_logprobs": 1}, {"logprobs": "prompt_logprobs"}),
        (COMPLETIONS, {"echo": True}, {"logprobs": "echo"}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text"}, PICTURE]}]}, {"vision": "messages"}),
        (CHAT, {"messages": [{"role": "user", "content": "image_url"}]}, {}),
        (CHAT, {"messages": "no list", "tools": 7, "response_format": []}, {"tools": "tools"}),
        ("/tokenize", {"tools": [TOOL], "messages": []}, {}),
    ],
)
def test_features(path: str, fields: dict[str, Any], needed: dict[str, str]) -> None:
    assert needs_of(path, fields).features == needed


@pytest.mark.parametrize(
    ("fields", "context", "field"),
    [
        ({"prompt": [1, 2, 3], "max_tokens": 2}, 3, "prompt"),
        ({"prompt": [[1], [1, 2, 3, 4]]}, 4, "prompt"),
        ({"prompt": "four words of text", "max_tokens": 9}, 9, "max_tokens"),
        ({"prompt": ["a", "b"]}, 0, "prompt"),
        ({"prompt": [1, 2, 3], "truncate_prompt_tokens": 2}, 0, "prompt"),
        ({"max_tokens": 5, "max_completion_tokens": 7}, 7, "max_completion_tokens"),
        ({"max_tokens": True}, 0, "prompt"),
        ({"max_tokens": "5"}, 0, "prompt"),
    ],
)
def test_tokens_count_where_they_are_certain(fields: dict[str, Any], context: int, field: str) -> None:
    needs = needs_of(COMPLETIONS, fields)
    assert needs.context == context
    assert needs.context_field == field or not context
