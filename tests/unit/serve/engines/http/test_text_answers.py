"""What the text routes answer over the scripted engine, in this process: choices, prompts, forms and log
probabilities."""

import json
from typing import Any

import httpx
import pytest

from serve.engines.http import text as text_api
from serve.engines.scripted.engine import Script, ScriptedText

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = {"messages": [{"role": "user", "content": "hello"}], "temperature": 0}


async def post(path: str, body: dict[str, Any]) -> httpx.Response:
    app = text_api.build(ScriptedText(Script(0.0, 0.0, None, None), 256), {"echo"}, "0" * 64)
    greedy = {} if path == "/tokenize" else {"temperature": 0}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://engine") as client:
        return await client.post(path, json={"model": "echo"} | greedy | body)


async def asked(path: str, **body: Any) -> Any:
    answer = await post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def refused(path: str, **body: Any) -> tuple[int, str]:
    answer = await post(path, body)
    return answer.status_code, answer.json()["error"]["param"]


async def streamed(path: str, **body: Any) -> list[Any]:
    answer = await post(path, body | {"stream": True})
    *frames, done = answer.text.strip().split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


async def test_each_prompt_has_its_choices_in_order() -> None:
    answer = await asked(COMPLETIONS, prompt=["one", "three or four"], n=2, max_tokens=9)
    assert [choice["text"] for choice in answer["choices"]] == ["one", "one", "three or four", "three or four"]
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    usage = answer["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (1 + 4, 2 * 2 + 2 * 5, 19)


async def test_choices_of_one_seed_differ_and_come_again() -> None:
    body: dict[str, Any] = {"prompt": "one two three four", "n": 3, "max_tokens": 4, "temperature": 1, "seed": 5}
    texts = [[choice["text"] for choice in (await asked(COMPLETIONS, **body))["choices"]] for _ in range(2)]
    assert texts[0] == texts[1]
    assert len(set(texts[0])) > 1


async def test_a_stream_of_several_choices_adds_up() -> None:
    body: dict[str, Any] = {"prompt": ["one", "three or four"], "n": 2, "max_tokens": 9}
    whole = await asked(COMPLETIONS, **body)
    options = {"include_usage": True, "continuous_usage_stats": True}
    *frames, last = await streamed(COMPLETIONS, **body, stream_options=options)
    texts = dict.fromkeys(range(4), "")
    counted: dict[int, int] = {}
    for frame in frames:
        (choice,) = frame["choices"]
        texts[choice["index"]] += choice["text"]
        counted[choice["index"]] = frame["usage"]["completion_tokens"]
    assert list(texts.values()) == [choice["text"] for choice in whole["choices"]]
    assert sum(counted.values()) == last["usage"]["completion_tokens"]
    assert last["usage"] == whole["usage"]
    assert last["choices"] == []


async def test_each_choice_of_a_chat_says_once_who_speaks() -> None:
    frames = await streamed(CHAT, **HELLO, n=2)
    roles = [(frame["choices"][0]["index"], frame["choices"][0]["delta"].get("role")) for frame in frames]
    assert sorted(index for index, role in roles if role) == [0, 1]


async def test_an_echo_begins_with_the_prompt_and_its_log_probabilities() -> None:
    answer = await asked(COMPLETIONS, prompt="one two three", echo=True, max_tokens=1, logprobs=1)
    (choice,) = answer["choices"]
    logprobs = choice["logprobs"]
    assert choice["text"] == "one two three" + "one "
    assert logprobs["tokens"] == ["one ", "two ", "thre", "e", "one "]
    assert logprobs["token_logprobs"] == [None, -2.0, -2.0, -2.0, -0.25]
    assert logprobs["top_logprobs"][:2] == [None, {"two ": -2.0, "one ": -3.0}]
    assert logprobs["text_offset"] == [0, 4, 8, 12, 13]
    assert len(choice["prompt_logprobs"]) == 4


async def test_an_echo_of_unknown_token_ids_is_refused() -> None:
    assert await refused(COMPLETIONS, prompt=[[65], [10**40]], echo=True, max_tokens=1) == (400, "prompt")


@pytest.mark.parametrize("stream", [True, False])
async def test_an_echo_of_no_tokens_is_the_prompt(stream: bool) -> None:
    body: dict[str, Any] = {"prompt": "one two", "echo": True, "max_tokens": 0, "logprobs": 0}
    choice = ((await streamed(COMPLETIONS, **body))[0] if stream else await asked(COMPLETIONS, **body))["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ("one two", "length")
    assert choice["logprobs"]["tokens"] == ["one ", "two"]


async def test_token_ids_are_echoed_as_text() -> None:
    ids = (await asked("/tokenize", prompt="one two"))["tokens"]
    for prompt in (ids, [ids, ids]):
        for choice in (await asked(COMPLETIONS, prompt=prompt, echo=True, max_tokens=0))["choices"]:
            assert choice["text"] == "one two"


async def test_an_answer_may_come_with_its_token_ids() -> None:
    answer = await asked(COMPLETIONS, prompt=["one two", "three"], max_tokens=8, return_token_ids=True)
    for prompt, choice in zip(("one two", "three"), answer["choices"], strict=True):
        tokens = (await asked("/tokenize", prompt=prompt))["tokens"]
        assert choice["prompt_token_ids"] == tokens
        assert choice["token_ids"] == [*tokens, 0]
    chat = await asked(CHAT, **HELLO, return_token_ids=True, max_tokens=1)
    assert chat["prompt_token_ids"] == (await asked("/tokenize", messages=HELLO["messages"]))["tokens"]
    assert chat["choices"][0]["token_ids"] == chat["prompt_token_ids"][:1]


async def test_a_chat_is_scored_as_shadows_ask_for_it() -> None:
    turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hello to you"}]
    answer = await asked(
        CHAT, messages=turns, max_tokens=1, prompt_logprobs=5, continue_final_message=True, add_generation_prompt=False
    )
    text = "user: hello\nassistant: hello to you"
    tokens = (await asked("/tokenize", prompt=text))["tokens"]
    first, *places = answer["prompt_logprobs"]
    assert first is None
    assert [next(iter(place)) for place in places] == list(map(str, tokens[1:]))
    assert "prompt_logprobs" not in answer["choices"][0]


async def test_how_a_chat_ends_is_for_the_client_to_say() -> None:
    async def ending(**more: Any) -> str:
        answer = await asked("/tokenize", messages=HELLO["messages"], return_token_strs=True, **more)
        assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
        return "".join(answer["token_strs"])

    assert await ending() == "user: hello\nassistant:"
    assert await ending(add_generation_prompt=False) == "user: hello\n"
    assert await ending(add_generation_prompt=False, continue_final_message=True) == "user: hello"


async def test_a_stop_is_named() -> None:
    body: dict[str, Any] = {"prompt": "one two three", "max_tokens": 9}
    choice = (await asked(COMPLETIONS, **body, stop=["never", "wo"]))["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("one t", "stop", "wo")
    choice = (await asked(COMPLETIONS, **body, stop="wo", include_stop_str_in_output=True))["choices"][0]
    assert choice["text"] == "one two"
    two = (await asked("/tokenize", prompt="two "))["tokens"]
    choice = (await asked(COMPLETIONS, **body, stop_token_ids=two))["choices"][0]
    assert (choice["text"], choice["finish_reason"], choice["stop_reason"]) == ("one ", "stop", two[0])
    choice = (await asked(COMPLETIONS, **body))["choices"][0]
    assert (choice["finish_reason"], choice["stop_reason"]) == ("stop", None)


async def test_an_answer_is_as_long_as_asked() -> None:
    body: dict[str, Any] = {"prompt": "one two ", "max_tokens": 9}
    assert (await asked(COMPLETIONS, **body))["usage"]["completion_tokens"] == 3
    assert (await asked(COMPLETIONS, **body, min_tokens=4))["usage"]["completion_tokens"] == 5
    assert (await asked(COMPLETIONS, **body, ignore_eos=True))["usage"]["completion_tokens"] == 9
    assert (await asked(COMPLETIONS, **body, truncate_prompt_tokens=1))["choices"][0]["text"] == "two "


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
async def test_an_answer_has_the_form_asked_for(kind: str) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 3}}, "required": ["age"]}
    form = {"type": kind} | ({"json_schema": {"name": "x", "schema": schema}} if kind == "json_schema" else {})
    answer = await asked(CHAT, **HELLO, response_format=form)
    content = json.loads(answer["choices"][0]["message"]["content"])
    assert content == ({"age": 3} if kind == "json_schema" else {})
    assert answer["choices"][0]["finish_reason"] == "stop"


async def test_an_answer_is_one_of_the_wordings() -> None:
    answer = await asked(CHAT, **HELLO, structured_outputs={"choice": ["yes", "no"]})
    assert answer["choices"][0]["message"]["content"] in ("yes", "no")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_form_that_cannot_be_had_is_refused_by_name(stream: bool) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "string", "pattern": "a+"}}}
    assert await refused(CHAT, **HELLO, response_format=form, stream=stream) == (400, "response_format")


async def test_bytes_are_the_tokens_own() -> None:
    messages = [{"role": "user", "content": "日本語"}]
    answer = await asked(CHAT, messages=messages, max_tokens=3, logprobs=True, top_logprobs=2)
    choice = answer["choices"][0]
    own = [bytes(entry["bytes"]) for entry in choice["logprobs"]["content"]]
    assert own == [b"user", b": \xe6\x97", b"\xa5\xe6\x9c\xac"]
    assert b"".join(own).decode() == choice["message"]["content"]
    shown = await asked(CHAT, messages=messages, max_tokens=1, logprobs=True, return_tokens_as_token_ids=True)
    assert shown["choices"][0]["logprobs"]["content"][0]["token"].startswith("token_id:")


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt"),
        ({"prompt": [[-1]]}, "prompt"),
        ({"prompt": ["a"] * 1025}, "prompt"),
        ({"prompt": ["a"] * 11, "n": 100}, "n"),
        ({"prompt": "a", "allowed_token_ids": [2**40]}, "allowed_token_ids"),
        ({"prompt": "a", "max_tokens": 257}, "max_tokens"),
        ({"prompt": "a" * 8, "max_tokens": 255}, "prompt"),
    ],
)
async def test_what_cannot_be_answered_is_named(more: dict[str, Any], field: str) -> None:
    assert await refused(COMPLETIONS, **more) == (400, field)
