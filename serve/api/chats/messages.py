"""Anthropic's Messages, answered from a chat: the complete message, its stream of events, and errors."""

import json
import uuid
from typing import Any

from serve.api.chats.chat import Block, ChatStream, answer_blocks, event
from serve.api.chats.fields import checked
from serve.api.chats.messages_request import MessagesRequest
from serve.api.translated import Door, Translation
from serve.errors import status_of
from variants.errors import UnderstudyError

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
"""By a chat's finish reason: a message's stop reason."""
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def translate(document: dict[str, Any]) -> Translation:
    """Raises InputError."""
    request = checked(MessagesRequest, document)

    def whole(chat: dict[str, Any]) -> dict[str, Any]:
        choice = chat["choices"][0]
        blocks = answer_blocks(choice)
        stop = choice.get("stop_reason")
        return {
            **shell(request),
            "content": [content_of(block) for block in blocks],
            **stopped(choice["finish_reason"], stop if isinstance(stop, str) else None, blocks),
            "usage": usage_of(chat.get("usage") or {}),
        }

    return Translation(request.chat(), whole, lambda: MessageStream(request))


def shell(request: MessagesRequest) -> dict[str, Any]:
    """A message that has just begun."""
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_of({}),
    }


def usage_of(usage: dict[str, Any]) -> dict[str, int]:
    return {
        "input_tokens": usage.get("prompt_tokens", 0),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": usage.get("completion_tokens", 0),
    }


def stopped(finish: str | None, stop: str | None, blocks: list[Block]) -> dict[str, str | None]:
    """Why the message ended. A call that was forced ends a chat with `stop`, and a message with `tool_use`."""
    if finish == "stop" and stop is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": stop}
    if finish == "stop" and any(block.kind == "tool" for block in blocks):
        finish = "tool_calls"
    return {"stop_reason": REASONS.get(finish or "stop", "end_turn"), "stop_sequence": None}


def content_of(block: Block) -> dict[str, Any]:
    """A complete content block. The arguments of a call are `{}` where the answer ended before they were complete."""
    match block.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": block.text, "signature": ""}
        case "tool":
            try:
                arguments = json.loads(block.text or "{}")
            except ValueError:
                arguments = {}
            return {**started(block), "input": arguments if isinstance(arguments, dict) else {}}
    return {"type": "text", "text": block.text}


def started(block: Block) -> dict[str, Any]:
    """A content block that has just begun."""
    match block.kind:
        case "reasoning":
            return {"type": "thinking", "thinking": "", "signature": ""}
        case "tool":
            name = block.call or f"toolu_{uuid.uuid4().hex}"
            return {"type": "tool_use", "id": name, "name": block.name, "input": {}}
    return {"type": "text", "text": ""}


class MessageStream(ChatStream):
    """The events of one message. `message_delta` has the final counts of tokens; the engine knows them at the end."""

    def __init__(self, request: MessagesRequest) -> None:
        super().__init__()
        self.request = request
        self.closed: list[Block] = []

    def begin(self, document: dict[str, Any]) -> bytes:
        return event("message_start", {"message": shell(self.request)})

    def open(self, block: Block) -> bytes:
        return event("content_block_start", {"index": len(self.closed), "content_block": started(block)})

    def grow(self, block: Block, delta: Block) -> bytes:
        match block.kind:
            case "reasoning":
                added = {"type": "thinking_delta", "thinking": delta.text}
            case "tool":
                added = {"type": "input_json_delta", "partial_json": delta.text}
            case "text":
                added = {"type": "text_delta", "text": delta.text}
        return event("content_block_delta", {"index": len(self.closed), "delta": added})

    def close(self, block: Block) -> bytes:
        self.closed.append(block)
        return event("content_block_stop", {"index": len(self.closed) - 1})

    def complete(self) -> bytes:
        delta = stopped(self.finish, self.stop, self.closed)
        return event("message_delta", {"delta": delta, "usage": usage_of(self.usage)}) + event("message_stop", {})

    def fail(self, error: dict[str, Any]) -> bytes:
        return event("error", {"error": {"type": "api_error", "message": str(error.get("message", ""))}})


def error_of(status: int, error: dict[str, Any]) -> dict[str, Any]:
    """An error of a chat in Anthropic's format."""
    kind = TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": str(error.get("message", ""))}}


def anthropic_body(error: UnderstudyError) -> bytes:
    """`{"type": "error", "error": {"type", "message"}}`, the format of Anthropic's clients."""
    return json.dumps(error_of(status_of(error), {"message": str(error)})).encode()


MESSAGES = Door(
    translate,
    fields={
        "stop": "stop_sequences",
        "user": "metadata.user_id",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
        "continue_final_message": "messages",
    },
    body=anthropic_body,
    error=error_of,
)
