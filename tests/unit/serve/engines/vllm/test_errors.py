"""What vLLM 0.32 answered to wrong requests, and what becomes of it."""

import json
from typing import Any

import pytest

from serve.engines.vllm.errors import PlainErrors, plain

HOT = (
    "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid "
    "number, unable to parse string as a number', 'input': 'hot'}"
)
STOP = (
    "2 validation errors:\n  {'type': 'string_type', 'loc': 'body.stop', 'msg': 'Input should be a valid string', "
    "'input': '<list of 1 items>'}\n  {'type': 'string_type', 'loc': 'body.stop.0', 'msg': 'Input should be a valid "
    "string', 'input': '1'}"
)
LONG = (
    "This model's maximum context length is 2048 tokens. However, your prompt contains at least 2049 input tokens, "
    "which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
)


def said(message: str, param: str | None, code: int = 400) -> bytes:
    return json.dumps({"error": {"message": message, "type": "Bad Request", "param": param, "code": code}}).encode()


@pytest.mark.parametrize(
    ("body", "message", "param", "code"),
    [
        (
            said(HOT, "body.temperature"),
            "temperature: Input should be a valid number, unable to parse string as a number, and 'hot' was sent",
            "temperature",
            "invalid_request",
        ),
        (
            said(STOP, "body.stop"),
            "stop.0: Input should be a valid string, and '1' was sent",
            "stop.0",
            "invalid_request",
        ),
        (
            said("max_tokens must be at least 1, got -1. (parameter=max_tokens, value=-1)", "max_tokens"),
            "max_tokens must be at least 1, got -1.",
            "max_tokens",
            "invalid_request",
        ),
        (
            said(f"{LONG} (parameter=input_tokens, value=2049)", "input_tokens"),
            LONG,
            "prompt",
            "context_length_exceeded",
        ),
        (
            said(
                "1 validation error:\n  {'type': 'missing', 'loc': "
                "'body.messages.0.ChatCompletionDeveloperMessageParam.role', 'msg': 'Field required', 'input': ''}",
                None,
            ),
            "messages.0.role: Field required, and '' was sent",
            "messages.0.role",
            "invalid_request",
        ),
        (
            said("You must pass at least one prompt", None),
            "You must pass at least one prompt",
            "prompt",
            "invalid_request",
        ),
        (
            said("Requested sample logprobs of 21, which is greater than max allowed: 20", "logprobs"),
            "Requested sample logprobs of 21, which is greater than max allowed: 20",
            "logprobs",
            "invalid_request",
        ),
        (
            said('"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set', None),
            'tools: "auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set',
            "tools",
            "invalid_request",
        ),
        (said("The model `x` does not exist.", "model", 404), "The model `x` does not exist.", "model", "not_found"),
        (said("Token id 5000 is out of vocabulary", None), "prompt: Token id 5000 is out of vocabulary", "prompt",
         "invalid_request"),
        (said("n must be at least 1, got 0.", None), "n must be at least 1, got 0.", "n", "invalid_request"),
        (said("1 validation error:\n  {'loc': 'body.1', 'msg': 'JSON decode error', 'input': {}}", "body.1"),
         "body: not JSON", "body", "invalid_request"),
        (said("3 validation errors:\n  {'type': 'a', 'loc'...[truncated]", None),
         "3 validation errors: {'type': 'a', 'loc'...[truncated]", None, "invalid_request"),
    ],
)  # fmt: skip
def test_a_refusal_is_one_sentence_that_names_the_field(
    body: bytes, message: str, param: str | None, code: str
) -> None:
    expected = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    assert json.loads(plain(body, "prompt"))["error"] == expected


@pytest.mark.parametrize("body", [b"", b"gone", b"[]", b'{"detail": "Not Found"}', b'{"error": "x"}'])
def test_what_is_no_error_of_its_own_stays(body: bytes) -> None:
    assert plain(body, "prompt") == body


@pytest.mark.parametrize(("status", "changed"), [(200, False), (400, True), (500, False)])
async def test_only_refusals_are_looked_at(status: int, changed: bool) -> None:
    body, sent = said(HOT, "body.temperature"), []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        length = (b"Content-Length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [length, (b"x-a", b"b")]})
        await send({"type": "http.response.body", "body": body[:50], "more_body": True})
        await send({"type": "http.response.body", "body": body[50:]})

    async def send(message: Any) -> None:
        sent.append(message)

    await PlainErrors(app)({"type": "http", "path": "/v1/completions"}, None, send)
    passed_on = b"".join(message.get("body", b"") for message in sent)
    assert passed_on == (plain(body, "prompt") if changed else body)
    headers = {name.lower(): value for name, value in sent[0]["headers"]}
    assert headers == {b"content-length": str(len(passed_on)).encode(), b"x-a": b"b"}
