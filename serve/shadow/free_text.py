"""Answers that a variant and its parent write by themselves to one request: how they are asked for and read.

A request with temperature 0 or a seed is asked as it is, so the client's answer is the reference. Any other is asked at
temperature 0, and the parent writes a reference too. The parent answers once more: what it does not repeat itself is
not the variant's. An answer may take twice the tokens of the client's and `MORE_TOKENS`, so that one that never stops
costs little and still differs from a parent that stopped.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any

import msgspec

from serve.dataplane.body_worker import apart
from serve.dataplane.call import Reply
from serve.dataplane.upstream import Upstream
from variants.evidence.free_running import FreeAnswer, compare, score

Ask = Callable[[Upstream, str, bytes, dict[str, str]], Awaitable[Reply]]
"""Asks the engine of an upstream. Raises EngineError."""
MORE_TOKENS = 32
STREAM = ("stream", "stream_options")
JSON = {"content-type": "application/json"}


class Function(msgspec.Struct):
    name: str
    arguments: str


class ToolCall(msgspec.Struct):
    function: Function


class Message(msgspec.Struct):
    content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    """A choice of a completion, or of a chat. Its log probabilities, which may be long, are not read."""

    text: str | None = None
    message: Message | None = None
    finish_reason: str | None = None


class Complete(msgspec.Struct):
    """What is read of a complete answer."""

    choices: list[Choice]


@dataclass(frozen=True)
class FreeAgreement:
    """Scores of the variant's own answer and of the parent's second one, in [0, 1], and the variant's checks.

    `answers` are the variant's own and the reference."""

    variant: float
    floor: float
    checks: dict[str, float]
    answers: tuple[FreeAnswer, FreeAnswer]


async def compare_freely(ask: Ask, parent: Upstream, variant: Upstream, path: str, request: dict[str, Any],
                         own: FreeAnswer, tokens: int) -> FreeAgreement:  # fmt: skip
    """`own` is the parent's answer to the client, of about `tokens` tokens. Raises EngineError."""
    body = free_request(request, tokens)

    async def write(upstream: Upstream) -> FreeAnswer:
        document = json.dumps({**body, "model": upstream.served.asked_as}).encode()
        reply = (await ask(upstream, path, document, JSON)).body
        return await apart(len(reply), answer_of, reply)

    theirs = await write(variant)
    reference = own if is_repeatable(request) else await write(parent)
    again = await write(parent)
    checks = asdict(compare(theirs, reference))
    return FreeAgreement(score(theirs, reference), score(again, reference), checks, (theirs, reference))


def is_repeatable(request: dict[str, Any]) -> bool:
    """Whether a model answers this request in the same way each time, as far as it can."""
    return request.get("temperature") == 0 or request.get("seed") is not None


def free_request(request: dict[str, Any], tokens: int) -> dict[str, Any]:
    """The request as it is asked again: not streamed, of bounded length, and at temperature 0 unless repeatable."""
    body = {name: value for name, value in request.items() if name not in STREAM}
    limit = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    most = max(2 * tokens + MORE_TOKENS, body.get("min_tokens") or 0)
    body[limit] = min(most, body.get(limit) or most)
    return body if is_repeatable(request) else body | {"temperature": 0}


def answer_of(body: bytes | bytearray) -> FreeAnswer:
    """The first choice of a complete answer. Raises IndexError where it has none."""
    choice = msgspec.json.decode(body, type=Complete).choices[0]
    message = choice.message or Message()
    text = message.content if choice.text is None else choice.text
    calls = ((call.function.name, call.function.arguments) for call in message.tool_calls or ())
    return FreeAnswer(text or "", choice.finish_reason, tuple(calls))


def answer_of_stream(body: bytes) -> FreeAnswer:
    """The answer that a stream's frames make up."""
    text, finish = [], None
    calls: dict[int, list[str]] = {}
    for line in body.split(b"\n"):
        for choice in json.loads(line[6:]).get("choices", []) if line.startswith(b"data: {") else ():
            delta = choice.get("delta") or {}
            text.append(choice.get("text") or delta.get("content") or "")
            finish = choice.get("finish_reason") or finish
            for piece in delta.get("tool_calls") or ():
                named = calls.setdefault(piece.get("index", 0), ["", ""])
                function = piece.get("function") or {}
                named[0] += function.get("name") or ""
                named[1] += function.get("arguments") or ""
    return FreeAnswer("".join(text), finish, tuple((name, arguments) for name, arguments in calls.values()))
