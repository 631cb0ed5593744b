"""What a client may ask: what vLLM honours and this engine does not is refused by name, and what none knows ignored."""

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
    asked: list[dict[str, Any]] = [{}, {"prompt_logprobs": 0}, {"echo": True}, {"echo": True, "prompt_logprobs": 3}]
    assert [completion(**more).prompt_alternatives for more in asked] == [None, 0, None, 3]
    assert completion(echo=True, logprobs=2).prompt_alternatives == 2
    assert [chat(**more).prompt_alternatives for more in asked] == [None, 0, 0, 3]


def test_parts_of_a_message_become_its_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": ""}, "b"]
    asked = chat(messages=[{"role": "user", "content": parts}])
    assert asked.messages[0].plain() == {"role": "user", "content": "a\nb"}


def test_fields_that_vllm_ignores_in_a_message_are_ignored() -> None:
    turn = {
        "role": "assistant", "content": [{"type": "text", "text": "a", "index": 0}], "id": "x", "created_at": 5,
        "audio": {"id": "y"}, "annotations": {"a": 1},
    }  # fmt: skip
    assert chat(messages=[turn]).messages[0].plain() == {"role": "assistant", "content": "a"}


def test_who_speaks_for_the_developer_is_the_system() -> None:
    asked = chat(messages=[{"role": "developer", "content": "be kind"}])
    assert asked.messages[0].plain() == {"role": "system", "content": "be kind"}


def test_prompts_are_one_or_several() -> None:
    prompts: list[Any] = ["a", ["a", "b"], [1, 2], [[1, 2], [3]]]
    assert [completion(prompt=prompt).prompts for prompt in prompts] == [["a"], ["a", "b"], [[1, 2]], [[1, 2], [3]]]
    nothing: list[Any] = ["", [], [""], [[]], ["a", ""]]
    for empty in nothing:
        with pytest.raises(InputError) as caught:
            _ = completion(prompt=empty).prompts
        assert caught.value.field == "prompt"


@pytest.mark.parametrize(
    ("more", "schema"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "json_object"}}, {"type": "object"}),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "null"}}}},
         {"type": "null"}),
        ({"structured_outputs": {"json": {"type": "null"}}}, {"type": "null"}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, None),
    ],
)  # fmt: skip
def test_the_form_of_an_answer(more: dict[str, Any], schema: object) -> None:
    assert chat(**more).schema_asked == schema
    assert chat(**more).wordings == (("a", "b") if "choice" in more.get("structured_outputs", {}) else ())


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2, "best_of": 4, "presence_penalty": 0.5, "frequency_penalty": -1, "repetition_penalty": 1.1},
        {"top_k": 5, "min_p": 0.1, "min_tokens": 2, "max_tokens": 5, "length_penalty": 1},
        {"max_tokens": "7", "temperature": "0.5"},
        {"stop_token_ids": [5], "allowed_token_ids": [5, 6], "truncate_prompt_tokens": -1},
        {"return_token_ids": True, "return_tokens_as_token_ids": True, "cache_salt": "x"},
        {"safety_identifier": "ann", "prompt_cache_key": "k", "prompt_cache_retention": "24h"},
    ],
)
def test_what_vllm_takes_is_taken(more: dict[str, Any]) -> None:
    completion(**more)
    chat(**more)


def test_what_nobody_knows_is_ignored() -> None:
    unknown = {"a_field_of_tomorrow": [1], "guided_json": {}, "stream": True, "stream_options": {"a": 1}}
    assert completion(**unknown) == completion(stream=True, stream_options={})
    assert chat(**unknown) == chat(stream=True, stream_options={})


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"best_of": 0}, "best_of"),
        ({"presence_penalty": 2.5}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 1.1}, "min_p"),
        ({"min_tokens": 8, "max_tokens": 7}, "min_tokens"),
        ({"bad_words": ["x"]}, "bad_words"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"structured_outputs": {"regex": "a"}}, "structured_outputs.regex"),
        ({"suffix": "x"}, "suffix"),
        ({"use_beam_search": True}, "use_beam_search"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
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
        ({"messages": [{"role": 7, "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages.0.content.0.type"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"max_tokens": 0, "echo": True}, "max_tokens"),
        ({"continue_final_message": True}, "continue_final_message"),
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


@pytest.mark.parametrize("stop", [["a"] * 17, ["a", "b" * 257], "b" * 257])
def test_stop_strings_are_few_and_short(stop: object) -> None:
    with pytest.raises(InputError, match="at most 16 strings of at most 256 characters") as caught:
        parse(CompletionRequest, json.dumps({"model": "m", "prompt": "a", "stop": stop}).encode())
    assert caught.value.field == "stop"


def test_as_many_stop_strings_as_anybody_sends_are_taken() -> None:
    body = {"model": "m", "prompt": "a", "stop": ["b" * 256] * 16}
    assert len(parse(CompletionRequest, json.dumps(body).encode()).stops) == 16
