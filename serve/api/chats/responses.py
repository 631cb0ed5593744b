"""OpenAI's Responses, answered from a chat: the complete response, and its stream of events."""

import uuid
from typing import Any

from serve.api.chats.chat import Block, ChatStream, answer_blocks, event
from serve.api.chats.fields import checked
from serve.api.chats.responses_request import ResponsesRequest
from serve.api.translated import Door, Translation
from variants.errors import InputError

CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""By a chat's finish reason: why a response is incomplete."""


def translate(document: dict[str, Any]) -> Translation:
    """Raises InputError."""
    if document.get("previous_response_id") is not None:
        raise InputError(
            "responses are not stored here", field="previous_response_id", mend="send the whole conversation in input"
        )
    request = checked(ResponsesRequest, document)

    def whole(chat: dict[str, Any]) -> dict[str, Any]:
        choice = chat["choices"][0]
        items = [item_of(block, choice["finish_reason"]) for block in answer_blocks(choice)]
        return finished(shell(request, chat), items, choice["finish_reason"], chat.get("usage") or {})

    return Translation(request.chat(), whole, lambda: ResponseStream(request))


def new_id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"


def shell(request: ResponsesRequest, chat: dict[str, Any]) -> dict[str, Any]:
    """A response in progress, without output. `created_at` is in seconds of the epoch."""
    said = request.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": chat.get("created", 0),
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata,
        "model": request.model,
        "output": [],
        "parallel_tool_calls": request.parallel_tool_calls,
        "previous_response_id": None,
        "reasoning": {"effort": request.reasoning.effort, "summary": None},
        "store": False,
        "temperature": 1.0 if request.temperature is None else request.temperature,
        "text": said["text"],
        "tool_choice": said["tool_choice"],
        "tools": [{"strict": None, **tool} for tool in said["tools"]],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": 1.0 if request.top_p is None else request.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": request.user,
    }


def finished(
    response: dict[str, Any], items: list[dict[str, Any]], finish: str | None, usage: dict[str, Any]
) -> dict[str, Any]:
    why = CUT.get(finish or "")
    return {
        **response,
        "status": "incomplete" if why else "completed",
        "incomplete_details": {"reason": why} if why else None,
        "output": items,
        "usage": usage_of(usage),
    }


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """Counts of tokens, by Responses' names."""
    read, written = usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    reasoned = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": reasoned},
        "total_tokens": read + written,
    }


def item_of(block: Block, finish: str | None, key: str | None = None) -> dict[str, Any]:
    """A complete item of the output. `key` is its id, where it has one."""
    status = "incomplete" if finish in CUT else "completed"
    match block.kind:
        case "reasoning":
            content = [{"type": "reasoning_text", "text": block.text}]
            return {"id": key or new_id("rs"), "type": "reasoning", "summary": [], "content": content, "status": status}
        case "tool":
            return {
                "id": key or new_id("fc"),
                "type": "function_call",
                "status": status,
                "call_id": block.call or new_id("call"),
                "name": block.name,
                "arguments": block.text,
            }
    return {
        "id": key or new_id("msg"),
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [part_of(block)],
    }


def part_of(block: Block) -> dict[str, Any]:
    return {"type": "output_text", "text": block.text, "annotations": [], "logprobs": block.logprobs}


EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"content": []},
    "function_call": {"arguments": ""},
}
"""By type: what an item has when it is added to the output."""


class ResponseStream(ChatStream):
    """The events of one response. Every event has the next `sequence_number`."""

    def __init__(self, request: ResponsesRequest) -> None:
        super().__init__()
        self.request = request
        self.response: dict[str, Any] = {}
        self.items: list[dict[str, Any]] = []
        self.key = ""
        self.number = 0

    def event(self, kind: str, **fields: Any) -> bytes:
        self.number += 1
        return event(f"response.{kind}", {"sequence_number": self.number - 1, **fields})

    @property
    def place(self) -> dict[str, Any]:
        """Where the open item stands."""
        return {"item_id": self.key, "output_index": len(self.items)}

    def begin(self, document: dict[str, Any]) -> bytes:
        self.response = shell(self.request, document)
        return self.event("created", response=self.response) + self.event("in_progress", response=self.response)

    def open(self, block: Block) -> bytes:
        block.call = block.call or (new_id("call") if block.kind == "tool" else "")
        item = item_of(block, None)
        self.key = item["id"]
        item |= {"status": "in_progress", **EMPTY[item["type"]]}
        added = self.event("output_item.added", output_index=len(self.items), item=item)
        if block.kind != "text":
            return added
        return added + self.event("content_part.added", **self.place, content_index=0, part=part_of(block))

    def grow(self, block: Block, delta: Block) -> bytes:
        match block.kind:
            case "tool":
                return self.event("function_call_arguments.delta", **self.place, delta=delta.text)
            case "reasoning":
                return self.event("reasoning_text.delta", **self.place, content_index=0, delta=delta.text)
        fields = {"content_index": 0, "delta": delta.text, "logprobs": delta.logprobs}
        return self.event("output_text.delta", **self.place, **fields)

    def close(self, block: Block) -> bytes:
        place = self.place
        match block.kind:
            case "tool":
                done = self.event("function_call_arguments.done", **place, name=block.name, arguments=block.text)
            case "reasoning":
                done = self.event("reasoning_text.done", **place, content_index=0, text=block.text)
            case "text":
                fields = {"content_index": 0, "text": block.text, "logprobs": block.logprobs}
                done = self.event("output_text.done", **place, **fields)
                done += self.event("content_part.done", **place, content_index=0, part=part_of(block))
        item = item_of(block, self.finish, self.key)
        done += self.event("output_item.done", output_index=len(self.items), item=item)
        self.items.append(item)
        return done

    def complete(self) -> bytes:
        response = finished(self.response, self.items, self.finish, self.usage)
        return self.event(response["status"], response=response)

    def fail(self, error: dict[str, Any]) -> bytes:
        why = {"code": "server_error", "message": str(error.get("message", ""))}
        return self.event("failed", response={**self.response, "status": "failed", "output": self.items, "error": why})


RESPONSES = Door(
    translate,
    fields={
        "messages": "input",
        "max_completion_tokens": "max_output_tokens",
        "max_tokens": "max_output_tokens",
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
        "logprobs": "include",
    },
)
