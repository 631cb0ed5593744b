"""OpenAI's `POST /v1/responses` as a chat. Nothing is stored, so every request carries its whole conversation.

Reasoning items of earlier answers are accepted and left out, as chat templates do. Files, audio, hosted tools, stored
responses and conversations are refused by name.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from serve.api.chats.fields import Asked, Direct, by_type
from variants.document import No

Turns = list[dict[str, Any]]
Count = Annotated[int, Field(ge=1)]


class TextPart(Asked):
    type: Literal["input_text", "output_text"]
    text: str = ""
    annotations: list[Any] = Field(default=[])
    logprobs: list[Any] = Field(default=[])

    def chat(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class Refusal(Asked):
    type: Literal["refusal"]
    refusal: str

    def chat(self) -> dict[str, Any]:
        return {"type": "text", "text": self.refusal}


class ImagePart(Asked):
    type: Literal["input_image"]
    image_url: str
    detail: Literal["low", "high", "auto", "original"] = "auto"

    def chat(self) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self.image_url, "detail": self.detail}}


Part = Annotated[
    Annotated[TextPart, Tag("input_text")]
    | Annotated[TextPart, Tag("output_text")]
    | Annotated[Refusal, Tag("refusal")]
    | Annotated[ImagePart, Tag("input_image")],
    Discriminator(by_type()),
]


def content_of(content: str | list[Part]) -> str | list[dict[str, Any]]:
    """The content of a chat message: text where it is one text, else parts."""
    if isinstance(content, str):
        return content
    parts = [part.chat() for part in content]
    return parts[0]["text"] if len(parts) == 1 and parts[0]["type"] == "text" else parts


class Message(Asked):
    """A turn of the client, or a message of an earlier answer."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: str | list[Part] = ""
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None
    phase: Literal["commentary", "final_answer"] | None = None

    def join(self, turns: Turns) -> None:
        turns.append({"role": self.role, "content": content_of(self.content)})


class FunctionCall(Asked):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str = ""
    async_: Annotated[No, Field(alias="async")] = False
    caller: Direct | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    def join(self, turns: Turns) -> None:
        """Calls belong to the assistant's turn before them."""
        if not turns or turns[-1]["role"] != "assistant":
            turns.append({"role": "assistant", "content": ""})
        call = {"id": self.call_id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}
        turns[-1].setdefault("tool_calls", []).append(call)


class FunctionOutput(Asked):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[Part] = ""
    name: str | None = None
    caller: Direct | None = None
    id: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    def join(self, turns: Turns) -> None:
        turns.append({"role": "tool", "tool_call_id": self.call_id, "content": content_of(self.output)})


class ReasoningItem(Asked):
    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] = Field(default=[])
    content: list[Any] = Field(default=[])
    encrypted_content: str | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None

    def join(self, turns: Turns) -> None:
        """Not part of the chat."""


Item = Annotated[
    Annotated[Message, Tag("message")]
    | Annotated[FunctionCall, Tag("function_call")]
    | Annotated[FunctionOutput, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")],
    Discriminator(by_type("message")),
]


class Function(Asked):
    """A tool that the client runs. `parameters` is a JSON schema."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] = Field(default={})
    strict: bool | None = None
    allowed_callers: list[Literal["direct"]] = Field(default=[])
    async_: Annotated[No, Field(alias="async")] = False
    defer_loading: No = False

    def chat(self) -> dict[str, Any]:
        told = {"name", "description", "parameters", "strict"}
        return {"type": "function", "function": self.model_dump(exclude_none=True, include=told)}


class NamedFunction(Asked):
    type: Literal["function"]
    name: str


class PlainFormat(Asked):
    type: Literal["text", "json_object"]


class SchemaFormat(Asked):
    type: Literal["json_schema"]
    name: str
    schema_: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


Format = Annotated[
    Annotated[PlainFormat, Tag("text")]
    | Annotated[PlainFormat, Tag("json_object")]
    | Annotated[SchemaFormat, Tag("json_schema")],
    Discriminator(by_type()),
]


class Text(Asked):
    format: Format = PlainFormat(type="text")
    verbosity: Literal["medium"] | None = None


class Reasoning(Asked):
    effort: str | None = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None
    context: Literal["auto"] | None = None
    mode: Literal["standard"] | None = None


class StreamOptions(Asked):
    """Obfuscation, OpenAI's default, is random text for other readers of the network; none is added here."""

    include_obfuscation: bool = True


class ImageOptions(Asked):
    context_compression: Literal["auto"] | None = None


class CacheOptions(Asked):
    """Read as what it is, a hint: nothing is kept for longer or shorter."""

    mode: str | None = None
    ttl: str | None = None


class ResponsesRequest(Asked):
    """`POST /v1/responses`. `store` is ignored: nothing is stored. `safety_identifier` is the client where `user` is
    missing. `max_tool_calls` is of OpenAI's own tools, and there are none here."""

    model: str
    input: str | list[Item]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    text: Text = Text()
    tools: list[Annotated[Annotated[Function, Tag("function")], Discriminator(by_type())]] = Field(default=[])
    tool_choice: Literal["none", "auto", "required"] | NamedFunction = "auto"
    parallel_tool_calls: bool = True
    reasoning: Reasoning = Reasoning()
    include: list[Literal["message.output_text.logprobs", "reasoning.encrypted_content"]] = Field(default=[])
    metadata: dict[str, str] = Field(default={})
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: CacheOptions = CacheOptions()
    service_tier: str | None = None
    store: bool = False
    background: No = False
    context_management: Annotated[list[Any], Field(max_length=0)] = Field(default=[])
    image: ImageOptions = ImageOptions()
    max_tool_calls: Count | None = None
    truncation: Literal["disabled"] = "disabled"

    def chat(self) -> dict[str, Any]:
        """The same request for `/v1/chat/completions`."""
        given = {
            "max_completion_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "user": self.user or self.safety_identifier,
            "reasoning_effort": self.reasoning.effort,
            "response_format": self.response_format(),
        }
        chat: dict[str, Any] = {"model": self.model, "messages": self.turns()}
        chat |= {name: value for name, value in given.items() if value is not None}
        if self.shows_logprobs:
            chat |= {"logprobs": True, "top_logprobs": self.top_logprobs or 0}
        if self.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        return chat | self.chat_tools()

    @property
    def shows_logprobs(self) -> bool:
        return bool(self.top_logprobs) or "message.output_text.logprobs" in self.include

    def turns(self) -> Turns:
        turns: Turns = [{"role": "system", "content": self.instructions}] if self.instructions else []
        if isinstance(self.input, str):
            turns.append({"role": "user", "content": self.input})
        else:
            for item in self.input:
                item.join(turns)
        return turns

    def response_format(self) -> dict[str, Any] | None:
        form = self.text.format
        if isinstance(form, SchemaFormat):
            schema = form.model_dump(by_alias=True, exclude_none=True, exclude={"type"})
            return {"type": "json_schema", "json_schema": schema}
        return None if form.type == "text" else {"type": form.type}

    def chat_tools(self) -> dict[str, Any]:
        """Tools, and how they may be chosen; nothing without tools."""
        if not self.tools:
            return {}
        choice = self.tool_choice
        if isinstance(choice, NamedFunction):
            chosen: Any = {"type": "function", "function": {"name": choice.name}}
        else:
            chosen = choice
        parallel = {} if self.parallel_tool_calls else {"parallel_tool_calls": False}
        return {"tools": [tool.chat() for tool in self.tools], "tool_choice": chosen, **parallel}
