"""What a client may ask: every field that is not honoured is refused by name."""

import json
from typing import Any

import pytest

from serve.engines.http.text_request import ChatRequest, CompletionRequest, parse
from variants.errors import InputError

COMPLETION = {"model": "m", "prompt": "hello"}
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


def completion(**more: Any) -> CompletionRequest:
    return parse(CompletionRequest, json.dumps(COMPLETION | more).encode())


def chat(**more: Any) -> ChatRequest:
    return parse(ChatRequest, json.dumps(CHAT | more).encode())


def test_what_openai_clients_send_by_default_is_taken() -> None:
    asked = completion(n=1, presence_penalty=0, echo=False, best_of=1, user="ada", suffix=None, stop=None)
    assert asked.stops == ()
    assert chat(stop="a", metadata={"a": "b"}).stops == ("a",)
    assert completion(stop=["a", "b"]).stops == ("a", "b")


def test_how_many_tokens() -> None:
    assert (completion().token_limit, completion(max_tokens=7).token_limit) == (None, 7)
    assert chat(max_tokens=7, max_completion_tokens=5).token_limit == 5


def test_how_many_alternatives() -> None:
    assert [completion().alternatives, completion(logprobs=0).alternatives] == [None, 0]
    assert [chat(top_logprobs=3).alternatives, chat(logprobs=True, top_logprobs=3).alternatives] == [None, 3]
    assert chat(logprobs=True).alternatives == 0


def test_a_prompts_own_logprobs_may_be_asked_for() -> None:
    assert [completion().prompt_logprobs, completion(prompt_logprobs=0).prompt_logprobs] == [None, 0]
    with pytest.raises(InputError):
        chat(prompt_logprobs=1)


def test_parts_of_a_message_become_its_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    asked = chat(messages=[{"role": "user", "content": parts}])
    assert asked.messages[0].plain() == {"role": "user", "content": "ab"}


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"n": 2}, "n"),
        ({"echo": True}, "echo"),
        ({"best_of": 4}, "best_of"),
        ({"presence_penalty": 0.5}, "presence_penalty"),
        ({"frequency_penalty": -1}, "frequency_penalty"),
        ({"suffix": "x"}, "suffix"),
        ({"guided_json": {}}, "guided_json"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"prompt_logprobs": 0, "stream": True}, "prompt_logprobs"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage"),
        ({"seed": 1.5}, "seed"),
        ({"stop": ["a", ""]}, "stop.1"),
    ],
)
def test_what_is_not_supported_or_wrong_is_named(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        completion(**more)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"tools": []}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_a_chat_that_is_not_text_is_refused(more: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        chat(**more)
    assert caught.value.field == field


@pytest.mark.parametrize("body", [b"", b"nope", b"\xff", b'{"model": '])
def test_a_body_that_is_not_json_says_so(body: bytes) -> None:
    with pytest.raises(InputError, match="JSON") as caught:
        parse(CompletionRequest, body)
    assert caught.value.field == "body"


def test_a_body_that_is_no_object_says_so() -> None:
    with pytest.raises(InputError) as caught:
        parse(CompletionRequest, b"[1]")
    assert caught.value.field == "body"


def test_several_prompts_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        parse(CompletionRequest, b'{"model": "m", "prompt": ["a", "b"]}')
    assert caught.value.field == "prompt.0"


@pytest.mark.parametrize("stop", [["a"] * 17, ["a", "b" * 257], "b" * 257])
def test_stop_strings_are_few_and_short(stop: object) -> None:
    with pytest.raises(InputError, match="at most 16 strings of at most 256 characters") as caught:
        parse(CompletionRequest, json.dumps({"model": "m", "prompt": "a", "stop": stop}).encode())
    assert caught.value.field == "stop"


def test_as_many_stop_strings_as_anybody_sends_are_taken() -> None:
    body = {"model": "m", "prompt": "a", "stop": ["b" * 256] * 16}
    assert len(parse(CompletionRequest, json.dumps(body).encode()).stops) == 16
