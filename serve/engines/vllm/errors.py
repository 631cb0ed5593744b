"""vLLM's refusals in the words and the shape that all engines here have: one sentence that names the field, OpenAI's
error type, a code that is a word.

vLLM says what its models' validation says, several of them as dictionaries in one text, and gives the status as the
code. This is a middleware of its server (`--middleware`), so that what is relayed need not be looked at.
"""

import ast
import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
SEVERAL = re.compile(r"^\d+ validation errors?:\n")
ASIDE = re.compile(r" \(parameter=.*\)$", re.DOTALL)
TOO_LONG = "maximum context length"
NOT_JSON = "JSON decode error"
PROMPT = ("input_tokens", "input_text")
"""What vLLM calls the prompt where it is too long."""
ABOUT_PROMPT = re.compile(
    r"^Token id \d+ |conversation|chat template|multimodal model|at least one prompt|prompt cannot be empty"
)
ABOUT_TOOLS = re.compile(r" tool choice requires ")
TOO_MANY_ALTERNATIVES = "Requested sample logprobs of "
FORM = re.compile(r"[A-Z]\w*|function-\S*|(list|dict|tagged-union|constrained)\S*|str|int|float|bool")
"""What pydantic adds to a field to say which of its forms was tried."""
ABOUT_FIELD = re.compile(r"^([a-z][a-z_]*) must be ")
SHOWN = 80


class PlainErrors:
    """ASGI. Holds an answer of a status from 400 to 499 back until it is whole; passes every other on as it comes."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Any, send: Send) -> None:
        held: Message | None = None
        parts: list[bytes] = []

        async def look(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and 400 <= message["status"] < 500:
                held = message
            elif held is None:
                await send(message)
            else:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    body = plain(b"".join(parts), "messages" if "/chat/" in scope["path"] else "prompt")
                    headers = [pair for pair in held["headers"] if pair[0].lower() != b"content-length"]
                    await send({**held, "headers": [*headers, (b"content-length", str(len(body)).encode())]})
                    await send({"type": "http.response.body", "body": body})

        await self.app(scope, receive, look)


def plain(body: bytes, prompt: str) -> bytes:
    """The same refusal, as ours are. What is no error of vLLM's stays as it is. `prompt` is the field that holds the
    prompt, which vLLM names otherwise or not at all."""
    try:
        error = json.loads(body)["error"]
        said, param, status = str(error["message"]), error.get("param"), error["code"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return body
    param = param.removeprefix("body.") if isinstance(param, str) else None
    if SEVERAL.match(said):
        param, said = nearest(said) or (param, " ".join(said.split()))
    said = ASIDE.sub("", said)
    if NOT_JSON in said:
        param, said = "body", "not JSON"
    elif TOO_MANY_ALTERNATIVES in said:
        param = "top_logprobs" if prompt == "messages" else "logprobs"
    elif ABOUT_TOOLS.search(said):
        param = "tools"
    elif param is None or param in PROMPT:
        param = prompt if param in PROMPT or ABOUT_PROMPT.search(said) else first_word(said)
    code = "context_length_exceeded" if TOO_LONG in said else "not_found" if status == 404 else "invalid_request"
    message = said if param is None or param in said else f"{param}: {said}"
    return json.dumps(
        {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}
    ).encode()


def first_word(said: str) -> str | None:
    """The field that a sentence such as "n must be at least 1" begins with."""
    about = ABOUT_FIELD.match(said)
    return about[1] if about else None


def nearest(said: str) -> tuple[str, str] | None:
    """The field and the words of the validation that came nearest to a form that is taken; None where vLLM cut all of
    them off."""
    findings = []
    for line in said.splitlines()[1:]:
        try:
            one = ast.literal_eval(line.strip())
            parts = str(one["loc"]).removeprefix("body.").split(".")
            field = ".".join(part for part in parts if not FORM.fullmatch(part))
            findings.append((field, f"{one['msg']}, and {one.get('input')!r:.{SHOWN}} was sent"))
        except (ValueError, SyntaxError, KeyError, TypeError):
            continue
    return max(findings, key=lambda each: each[0].count("."), default=None)
