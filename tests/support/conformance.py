"""One table of requests that every text engine answers alike; `tests/support/alike.py` says what "alike" means.

Bodies are written without their model. Those of 200 come with `BASE`, so that an answer's length is known, unless they
ask for a form: what a model makes of it is its own. A body of 400 names the field at fault.
"""

import json
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
BASE = {"max_tokens": 4, "temperature": 0, "ignore_eos": True}
JSON = {"content-type": "application/json"}


@dataclass(frozen=True)
class Case:
    """One request. `choices` is how many answers it has, `field` what is at fault in one that is refused."""

    name: str
    path: str
    body: bytes
    choices: int = 1
    field: str | None = None
    headers: tuple[tuple[str, str], ...] = tuple(JSON.items())
    status: int = 200

    @property
    def has_form(self) -> bool:
        return b'"ignore_eos": false' in self.body

    def sent(self, model: str) -> bytes:
        return self.body.replace(b"@MODEL", model.encode())


def user(content: Any = "Say hi.") -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any = "Hi!", **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content} | more


def text(content: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": content} | more


def body_of(fields: dict[str, Any]) -> bytes:
    return json.dumps({"model": "@MODEL"} | fields).encode()


def asked(path: str, common: dict[str, Any], name: str, choices: int, /, **fields: Any) -> Case:
    return Case(name, path, body_of(BASE | common | fields), choices)


def chat(name: str, choices: int = 1, /, **fields: Any) -> Case:
    return asked(CHAT, {"messages": [user()]}, f"chat: {name}", choices, **fields)


def complete(name: str, choices: int = 1, /, **fields: Any) -> Case:
    return asked(COMPLETIONS, {"prompt": "a good film"}, f"completion: {name}", choices, **fields)


def refused(path: str, name: str, field: str, /, **fields: Any) -> Case:
    prompt: dict[str, Any] = {"messages": [user()]} if path == CHAT else {"prompt": "a good film"}
    return Case(f"{path}: {name}", path, body_of(prompt | fields), 0, field, status=400)


def raw(path: str, name: str, body: bytes, field: str | None, status: int = 400, **headers: str) -> Case:
    sent = tuple((JSON | {key.replace("_", "-"): value for key, value in headers.items()}).items())
    return Case(f"{path}: {name}", path, body, 1 if status == 200 else 0, field, sent, status)


CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
MARK = {"cache_control": {"type": "ephemeral"}}
AGE = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 9}}, "required": ["age"]}
USAGE = {"include_usage": True}
EVERY = USAGE | {"continuous_usage_stats": True}
OURS = {"refusal": None, "annotations": None, "audio": None, "function_call": None, "reasoning": None}
NULLS = dict.fromkeys(
    ("stream", "stream_options", "tools", "tool_choice", "functions", "function_call", "response_format", "stop",
     "parallel_tool_calls", "logit_bias", "seed", "user", "n", "logprobs", "top_logprobs", "top_p", "frequency_penalty",
     "presence_penalty", "metadata", "store", "service_tier", "modalities", "prediction", "audio", "reasoning_effort",
     "max_completion_tokens", "a_field_of_tomorrow")
)  # fmt: skip
NOTHING = {
    "response_format": {"type": "text"}, "parallel_tool_calls": True, "top_k": -1, "min_p": 0,
    "repetition_penalty": 1.0, "presence_penalty": 0, "frequency_penalty": 0, "n": 1, "top_p": 1, "stop": [],
    "logit_bias": {}, "stream": False, "logprobs": False, "min_tokens": 0, "skip_special_tokens": True,
}  # fmt: skip

CONVERSATIONS = [
    chat("one message"),
    chat("a system message", messages=[{"role": "system", "content": "Be brief."}, user()]),
    chat("a developer message", messages=[{"role": "developer", "content": "Be brief."}, user()]),
    chat("three turns", messages=[user(), assistant(), user("Bye.")]),
    chat("our own answer as history", messages=[user(), assistant(**OURS), user("Bye.")]),
    chat("an answer with empty lists", messages=[user(), assistant(tool_calls=[], annotations=[]), user()]),
    chat("an answer with its thoughts", messages=[user(), assistant(reasoning="hm"), user()]),
    chat("an answer with thoughts by their older name", messages=[user(), assistant(reasoning_content="hm"), user()]),
    chat("a refusal beside text", messages=[user(), assistant(refusal="no"), user()]),
    chat("null content", messages=[user(), assistant(None), user()]),
    chat("no content", messages=[user(), {"role": "assistant"}, user()]),
    chat("null content of a user", messages=[user(None)]),
    chat("empty content", messages=[user("")]),
    chat("null content beside a tool call",
         messages=[user(), assistant(None, tool_calls=[CALL]), {"role": "tool", "tool_call_id": "c1", "content": "4"}]),
    chat("no content beside a tool call",
         messages=[user(), {"role": "assistant", "tool_calls": [CALL]},
                   {"role": "tool", "tool_call_id": "c1", "content": [text("4")]}]),
    chat("a name", messages=[user() | {"name": "ann"}]),
    chat("a role of the model's own", messages=[user(), {"role": "ipython", "content": "4"}]),
    chat("what a gateway keeps", messages=[user(), assistant(provider_specific_fields={"a": 1}), user()]),
    chat("a null name", messages=[user() | {"name": None}]),
    chat("one text part", messages=[user([text("Say hi.")])]),
    chat("two text parts", messages=[user([text("The capital of"), text("France is")])]),
    chat("an empty part", messages=[user([text(""), text("hi")])]),
    chat("no parts", messages=[user([])]),
    chat("strings as parts", messages=[user(["Say", "hi."])]),
    chat("parts of the newer API", messages=[user([{"type": "input_text", "text": "hi"}]),
                                             assistant([{"type": "output_text", "text": "ho"}]), user()]),
    chat("a part with a mark", messages=[user([text("Say hi.", **MARK)])]),
    chat("a system part with a mark", messages=[{"role": "system", "content": [text("Be brief.", **MARK)]}, user()]),
    chat("a message with a mark", messages=[user() | MARK]),
    chat("a mark on the request", **MARK),
    chat("characters of all kinds", messages=[user("naïve 日本語 👍")]),
    chat("a damaged character", messages=[user("damaged \ufffd")]),
    chat("a continued message", messages=[user(), assistant("Hi")], continue_final_message=True,
         add_generation_prompt=False),
    chat("an open end", add_generation_prompt=False),
    chat("an explicit generation prompt", add_generation_prompt=True, continue_final_message=False),
    chat("an echo of the assistant", messages=[user(), assistant("Hi")], continue_final_message=True,
         add_generation_prompt=False, echo=True),
]  # fmt: skip
FIELDS = [
    chat("every field null", **NULLS),
    chat("a null stream", stream=None),
    chat("values that ask for nothing", **NOTHING, tool_choice="none", modalities=["text"]),
    chat("a text format alone", response_format={"type": "text"}),
    chat("a text format with nulls", response_format={"type": "text", "json_schema": None}),
    chat("a bias at its limits", logit_bias={"70": 100, "71": -100}),
    chat("no tools, to be chosen at will", tools=[], tool_choice="auto"),
    chat("tools with a mark that are not to be called", tools=[TOOL | MARK], tool_choice="none"),
    chat("tools that are not to be called", tools=[TOOL], tool_choice="none"),
    chat("identity of all ages", user="ann", safety_identifier="ann", prompt_cache_key="c-17"),
    chat("bookkeeping", store=True, metadata={"a": "b"}, service_tier="default", prompt_cache_retention="24h"),
    chat("a frequency penalty", frequency_penalty=0.5),
    chat("a presence penalty", presence_penalty=-0.5),
    chat("a repetition penalty", repetition_penalty=1.2),
    chat("min_p, top_k and top_p", min_p=0.1, top_k=5, top_p=0.9, temperature=1, seed=1),
    chat("a seed", seed=7),
    chat("a limit by its newer name", max_completion_tokens=4),
    chat("both names of the limit", max_completion_tokens=4, max_tokens=9),
    chat("numbers as text", max_tokens="4", temperature="0"),
    chat("at least as many tokens", min_tokens=2),
    chat("two answers at temperature 0", 2, n=2),
    chat("three answers", 3, n=3, temperature=1, seed=1),
    chat("log probabilities", logprobs=True),
    chat("alternatives", logprobs=True, top_logprobs=3),
    chat("tokens as ids", logprobs=True, top_logprobs=1, return_tokens_as_token_ids=True),
    chat("no alternatives, said twice", logprobs=False, top_logprobs=0),
    chat("the prompt's log probabilities", prompt_logprobs=2),
    chat("what a shadow asks", messages=[user(), assistant()], prompt_logprobs=5, continue_final_message=True,
         add_generation_prompt=False, max_tokens=1),
    chat("token ids", return_token_ids=True),
    chat("a stop string that never comes", stop="\u2603"),
    chat("sixteen stop strings", stop=[f"\u2603{i}" for i in range(16)]),
    chat("a stop token that never comes", stop_token_ids=[3]),
    chat("a bias", logit_bias={"70": 1}),
    chat("a JSON object", response_format={"type": "json_object"}, max_tokens=60, ignore_eos=False),
    chat("a JSON schema", max_tokens=60, ignore_eos=False,
         response_format={"type": "json_schema", "json_schema": {"name": "age", "schema": AGE, "strict": True}}),
    chat("a schema with nulls", max_tokens=60, ignore_eos=False, response_format={
        "type": "json_schema", "json_schema": {"name": "age", "description": None, "schema": AGE, "strict": None}}),
    chat("one of two wordings", structured_outputs={"choice": ["yes", "no"]}, ignore_eos=False, max_tokens=20),
    chat("a cache salt", cache_salt="abc"),
    chat("an id of the client's", request_id="abc"),
    chat("effort", reasoning_effort="low"),
    chat("the end of a long prompt", truncate_prompt_tokens=5),
    chat("options without a stream that ask for nothing", stream_options={"include_usage": False}),
    chat("fields of tomorrow", a_field_of_tomorrow={"a": [1]}, guided_json={}, prediction={"type": "content"}),
    chat("a field of tomorrow in a format", response_format={"type": "text", "b": 1}),
]  # fmt: skip
STREAMS = [
    chat("a stream", stream=True),
    chat("a stream with usage", stream=True, stream_options=USAGE),
    chat("a stream with an option of tomorrow", stream=True, stream_options=USAGE | {"a": 1}),
    chat("a stream with usage in every chunk", stream=True, stream_options=EVERY),
    chat("a stream with usage in every chunk, not asked for at the end", stream=True,
         stream_options={"continuous_usage_stats": True}),
    chat("a stream with null options", stream=True, stream_options=None),
    chat("a stream with empty options", stream=True, stream_options={}),
    chat("a stream without obfuscation", stream=True, stream_options=USAGE | {"include_obfuscation": False}),
    chat("a stream of two answers", 2, stream=True, n=2, stream_options=USAGE),
    chat("a stream with log probabilities", stream=True, logprobs=True, top_logprobs=2),
    chat("a stream with token ids", stream=True, return_token_ids=True),
    chat("a stream of a JSON object", stream=True, response_format={"type": "json_object"}, max_tokens=60,
         ignore_eos=False),
    complete("a stream", stream=True),
    complete("a stream with usage", stream=True, stream_options=USAGE),
    complete("a stream with usage in every chunk", stream=True, stream_options=EVERY),
    complete("a stream of two prompts", 2, stream=True, prompt=["a good", "a bad"], stream_options=USAGE),
    complete("a stream of two prompts and two answers", 4, stream=True, prompt=["a", "b"], n=2, stream_options=USAGE),
    complete("a stream with an echo", stream=True, echo=True),
    complete("a stream with an echo and log probabilities", stream=True, echo=True, logprobs=1),
    complete("a stream with token ids", stream=True, return_token_ids=True),
    complete("a stream with log probabilities", stream=True, logprobs=2),
    complete("a stream after a damaged character", stream=True, prompt="damaged \ufffd"),
]  # fmt: skip
PROMPTS = [
    complete("one text"),
    complete("a list of one text", prompt=["a good film"]),
    complete("a list of texts", 2, prompt=["a good film", "a bad film"]),
    complete("token ids", prompt=[70, 71, 72]),
    complete("a list of one list of ids", prompt=[[70, 71]]),
    complete("lists of ids", 3, prompt=[[70], [71, 72], [73]]),
    complete("two answers to two prompts", 4, prompt=["a", "b"], n=2, temperature=1, seed=3),
    complete("two answers at temperature 0", 2, n=2),
    complete("best of one", best_of=1),
    complete("best of three", best_of=3),
    complete("no suffix", suffix=""),
    complete("a null suffix", suffix=None),
    complete("every field null", **NULLS),
    complete("values that ask for nothing", **NOTHING, echo=False, best_of=1),
    complete("a damaged character", prompt="Note: damaged \ufffd"),
    complete("damaged characters alone", prompt="\ufffd\ufffd\ufffd"),
    complete("an echo", echo=True),
    complete("an echo of ids", echo=True, prompt=[70, 71, 72]),
    complete("an echo with log probabilities", echo=True, logprobs=1),
    complete("what lm-eval asks", prompt=[70, 71, 72, 73], echo=True, max_tokens=1, logprobs=1, seed=1234),
    complete("the prompt alone", echo=True, max_tokens=0),
    complete("the prompt alone with log probabilities", echo=True, max_tokens=0, logprobs=1),
    complete("several prompts alone", 2, prompt=["a", "b"], echo=True, max_tokens=0, logprobs=0),
    complete("an echo of two prompts", 2, prompt=["a good", "a bad"], echo=True, logprobs=2),
    complete("log probabilities without alternatives", logprobs=0),
    complete("log probabilities", logprobs=3),
    complete("tokens as ids", logprobs=1, return_tokens_as_token_ids=True),
    complete("the prompt's log probabilities", prompt_logprobs=2),
    complete("the prompt's own log probabilities alone", prompt_logprobs=0),
    complete("those of two prompts", 2, prompt=["a good", "a bad"], prompt_logprobs=1),
    complete("token ids beside the text", 2, prompt=["a", "b"], return_token_ids=True),
    complete("penalties", frequency_penalty=1, presence_penalty=1, repetition_penalty=1.1),
    complete("a limit by its newer name", max_tokens=None, max_completion_tokens=4),
    complete("allowed tokens", allowed_token_ids=[70, 71]),
    complete("the end of a long prompt", truncate_prompt_tokens=1),
    complete("without special tokens", add_special_tokens=False),
    complete("a stop string that never comes", stop=["\u2603"]),
    complete("a JSON object", response_format={"type": "json_object"}, max_tokens=60, ignore_eos=False),
    complete("a seed", seed=-3),
    complete("fields of tomorrow", a_field_of_tomorrow={"a": [1]}, guided_json={}),
    complete("a user", user="ann"),
]  # fmt: skip
REFUSED = [
    refused(path, name, field, **fields)
    for path in (CHAT, COMPLETIONS)
    for name, field, fields in list[tuple[str, str, dict[str, Any]]]([
        ("a hot temperature", "temperature", {"temperature": 2.5}),
        ("a negative temperature", "temperature", {"temperature": -1}),
        ("a temperature in words", "temperature", {"temperature": "hot"}),
        ("top_p of 0", "top_p", {"top_p": 0}),
        ("min_p above 1", "min_p", {"min_p": 2}),
        ("a top_k below -1", "top_k", {"top_k": -2}),
        ("a penalty above 2", "presence_penalty", {"presence_penalty": 3}),
        ("a penalty below -2", "frequency_penalty", {"frequency_penalty": -3}),
        ("a penalty of 0", "repetition_penalty", {"repetition_penalty": 0}),
        ("no answers", "n", {"n": 0}),
        ("a negative number of answers", "n", {"n": -1}),
        ("no tokens", "max_tokens", {"max_tokens": 0}),
        ("a negative limit", "max_tokens", {"max_tokens": -1}),
        ("a limit in words", "max_tokens", {"max_tokens": "many"}),
        ("a seed that is too large", "seed", {"seed": 2**64}),
        ("a seed that is no whole number", "seed", {"seed": 1.5}),
        ("more tokens at least than at most", "min_tokens", {"min_tokens": 9, "max_tokens": 4}),
        ("an empty stop string", "stop", {"stop": ["a", ""]}),
        ("too many stop strings", "stop", {"stop": ["a"] * 17}),
        ("a stop number", "stop", {"stop": 7}),
        ("a bias that is no id", "logit_bias", {"logit_bias": {"x": 1}}),
        ("options without a stream", "stream_options", {"stream_options": USAGE}),
        ("options that are none", "stream_options", {"stream": True, "stream_options": "yes"}),
        ("usage in words", "stream_options", {"stream": True, "stream_options": {"include_usage": "yes"}}),
        ("a stream in words", "stream", {"stream": "yes"}),
        ("the prompt's log probabilities in a stream", "prompt_logprobs", {"stream": True, "prompt_logprobs": 1}),
        ("too many of the prompt's", "prompt_logprobs", {"prompt_logprobs": 21}),
        ("alternatives alone", "top_logprobs", {"top_logprobs": 3}),
        ("a format of another kind", "response_format", {"response_format": {"type": "xml"}}),
        ("a user who is a number", "user", {"user": 7}),
        ("a user of half a character", "user", {"user": "\ud800"}),
        ("a stop of half a character", "stop", {"stop": "\udc00"}),
        ("a bias out of range", "logit_bias", {"logit_bias": {"5": 101}}),
        ("an identity that is a number", "safety_identifier", {"safety_identifier": 7}),
        ("a cache key that is a list", "prompt_cache_key", {"prompt_cache_key": ["a"]}),
    ])
]  # fmt: skip
REFUSED += [
    refused(CHAT, "no messages", "messages", messages=[]),
    refused(CHAT, "null messages", "messages", messages=None),
    refused(CHAT, "messages in a text", "messages", messages="hi"),
    refused(CHAT, "a message that is a text", "messages", messages=["hi"]),
    refused(CHAT, "a message without a role", "messages", messages=[{"content": "hi"}]),
    refused(CHAT, "a role that is a number", "messages", messages=[{"role": 7, "content": "hi"}]),
    refused(CHAT, "a content that is a number", "messages", messages=[user(7)]),
    refused(CHAT, "a picture", "messages",
            messages=[user([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}])]),
    refused(CHAT, "half a character", "messages", messages=[user("a \ud83d b")]),
    refused(CHAT, "a conversation that is too long", "messages", messages=[user("film " * 4000)]),
    refused(CHAT, "an answer that is too long", "max_tokens", max_tokens=100_000),
    refused(CHAT, "an answer that is too long, by its newer name", "max_completion_tokens",
            max_completion_tokens=100_000),
    refused(COMPLETIONS, "an answer that is too long", "max_tokens", max_tokens=100_000),
    refused(CHAT, "too many alternatives", "top_logprobs", logprobs=True, top_logprobs=21),
    refused(CHAT, "tools", "tools", tools=[TOOL]),
    refused(CHAT, "a continued message and a new one", "continue_final_message", continue_final_message=True),
    refused(COMPLETIONS, "no prompt", "prompt", prompt=None),
    refused(COMPLETIONS, "an empty prompt", "prompt", prompt=""),
    refused(COMPLETIONS, "an empty list", "prompt", prompt=[]),
    refused(COMPLETIONS, "a list of an empty text", "prompt", prompt=[""]),
    refused(COMPLETIONS, "a list of no ids", "prompt", prompt=[[]]),
    refused(COMPLETIONS, "a negative id", "prompt", prompt=[-1]),
    refused(COMPLETIONS, "an id beyond the vocabulary", "prompt", prompt=[2**40]),
    refused(COMPLETIONS, "texts and ids", "prompt", prompt=[1, "a"]),
    refused(COMPLETIONS, "a prompt that is too long", "prompt", prompt="film " * 4000),
    refused(COMPLETIONS, "half a character", "prompt", prompt="\ud800"),
    refused(COMPLETIONS, "a suffix", "suffix", suffix="x"),
    refused(COMPLETIONS, "too many alternatives", "logprobs", logprobs=21),
]  # fmt: skip
WIRE = [
    raw(path, name, body.replace(b"@BODY", ours), field, status, **headers)
    for path, ours in ((CHAT, b'"messages": [{"role": "user", "content": "hi"}]'), (COMPLETIONS, b'"prompt": "hi"'))
    for name, body, field, status, headers in [
        ("sent as text", b'{"model": "@MODEL", @BODY, "max_tokens": 2, "ignore_eos": true}', None, 200,
         {"content_type": "text/plain"}),
        ("sent as a form", b'{"model": "@MODEL", @BODY, "max_tokens": 2, "ignore_eos": true}', None, 200,
         {"content_type": "application/x-www-form-urlencoded"}),
        ("not JSON", b'{"model": "@MODEL", @BODY', None, 400, {}),
        ("not a number", b'{"model": "@MODEL", @BODY, "temperature": NaN}', "temperature", 400, {}),
        ("an infinite number", b'{"model": "@MODEL", @BODY, "top_p": 1e999}', "top_p", 400, {}),
    ]
]  # fmt: skip
TOKENS = [
    Case("tokens: of a text", TOKENIZE, body_of({"prompt": "a good film"}), 0),
    Case("tokens: with null fields", TOKENIZE, body_of({"prompt": "a", "add_special_tokens": None}), 0),
    Case("tokens: with a field of tomorrow", TOKENIZE, body_of({"prompt": "a", "a_field_of_tomorrow": 1}), 0),
    Case("tokens: of a chat", TOKENIZE, body_of({"messages": [user()]}), 0),
    Case("tokens: of a chat with parts", TOKENIZE, body_of({"messages": [user([text("a"), text("b", **MARK)])]}), 0),
    Case("tokens: as text", TOKENIZE, body_of({"prompt": "a good film", "return_token_strs": True}), 0),
]
CASES = [*CONVERSATIONS, *FIELDS, *STREAMS, *PROMPTS, *REFUSED, *WIRE, *TOKENS]
