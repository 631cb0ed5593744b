"""Anthropic's `POST /v1/messages` as a chat.

Marks of caches are accepted and ignored, and thinking blocks of earlier answers are left out, as chat templates do. A
null content is an empty one. The text of a failed tool result begins with `Error: `, because a chat has no other place
for that. A last message of the assistant is continued. Documents, server tools and extended thinking are refused by
name.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from serve.api.chats.fields import Asked, by_type
from variants.document import No

Turns = list[dict[str, Any]]
Mark = dict[str, Any]


class Text(Asked):
    type: Literal["text"]
    text: str = ""
    cache_control: Mark | None = None
    citations: list[Any] = Field(default=[])

    def chat(self) -> dict[str, Any]:
        return {"type": "text", "text": self.text}


class Base64Source(Asked):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str

    @property
    def address(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"


class UrlSource(Asked):
    type: Literal["url"]
    url: str

    @property
    def address(self) -> str:
        return self.url


class Transformations(Asked):
    oversized_image: Literal["downsize"] = "downsize"


class Image(Asked):
    type: Literal["image"]
    source: Annotated[
        Annotated[Base64Source, Tag("base64")] | Annotated[UrlSource, Tag("url")], Discriminator(by_type())
    ]
    cache_control: Mark | None = None
    transformations: Transformations | None = None

    def chat(self) -> dict[str, Any]:
        return {"type": "image_url", "image_url": {"url": self.source.address}}


Shown = Annotated[Annotated[Text, Tag("text")] | Annotated[Image, Tag("image")], Discriminator(by_type())]


def content_of(blocks: list[Text | Image]) -> str | list[dict[str, Any]]:
    """The content of a chat message: text where it is one text, else parts."""
    if len(blocks) == 1 and isinstance(blocks[0], Text):
        return blocks[0].text
    return [block.chat() for block in blocks]


class ToolUse(Asked):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any] = Field(default={})
    cache_control: Mark | None = None
    caller: Mark | None = None

    def chat(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": json.dumps(self.input)}
        return {"id": self.id, "type": "function", "function": function}


class ToolResult(Asked):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[Shown] = ""
    is_error: bool = False
    cache_control: Mark | None = None

    def turn(self) -> dict[str, Any]:
        blocks: list[Text | Image] = []
        blocks += [Text(type="text", text=self.content)] if isinstance(self.content, str) else self.content
        if self.is_error:
            first = blocks[0] if blocks else None
            said = [Text(type="text", text=f"Error: {first.text if isinstance(first, Text) else ''}")]
            blocks = [*said, *(blocks[1:] if isinstance(first, Text) else blocks)]
        return {"role": "tool", "tool_call_id": self.tool_use_id, "content": content_of(blocks) or ""}


class Thinking(Asked):
    type: Literal["thinking", "redacted_thinking"]
    thinking: str = ""
    signature: str = ""
    data: str = ""


Block = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Image, Tag("image")]
    | Annotated[ToolUse, Tag("tool_use")]
    | Annotated[ToolResult, Tag("tool_result")]
    | Annotated[Thinking, Tag("thinking")]
    | Annotated[Thinking, Tag("redacted_thinking")],
    Discriminator(by_type()),
]


class Message(Asked):
    """A turn of the client, or an earlier answer as it came, of which only the content counts."""

    role: Literal["user", "assistant", "system"]
    content: str | list[Block] = ""
    id: str | None = None
    type: Literal["message"] = "message"
    model: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: Mark | None = None
    usage: Mark | None = None
    container: Mark | None = None
    diagnostics: Mark | None = None

    def join(self, turns: Turns) -> None:
        """Results of tools become turns of their own, before the rest of the message."""
        if isinstance(self.content, str):
            turns.append({"role": self.role, "content": self.content})
            return
        turns += [block.turn() for block in self.content if isinstance(block, ToolResult)]
        shown = [block for block in self.content if isinstance(block, Text | Image)]
        calls = [block.chat() for block in self.content if isinstance(block, ToolUse)]
        if shown or calls or not any(isinstance(block, ToolResult) for block in self.content):
            turn = {"role": self.role, "content": content_of(shown) or ""}
            turns.append({**turn, "tool_calls": calls} if calls else turn)


class Tool(Asked):
    """A tool that the client runs. `input_schema` is a JSON schema."""

    type: Literal["custom"] = "custom"
    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: Mark | None = None
    allowed_callers: list[Literal["direct"]] = Field(default=[])
    defer_loading: No = False
    eager_input_streaming: bool = True
    input_examples: Annotated[list[Any], Field(max_length=0)] = Field(default=[])

    def chat(self) -> dict[str, Any]:
        given = {"description": self.description, "strict": self.strict}
        function = {"name": self.name, "parameters": self.input_schema}
        return {"type": "function", "function": function | {k: v for k, v in given.items() if v is not None}}


class ToolChoice(Asked):
    type: Literal["auto", "any", "none"]
    disable_parallel_tool_use: bool = False

    def chat(self) -> Any:
        return "required" if self.type == "any" else self.type


class NamedTool(Asked):
    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool = False

    def chat(self) -> Any:
        return {"type": "function", "function": {"name": self.name}}


Choice = Annotated[
    Annotated[ToolChoice, Tag("auto")]
    | Annotated[ToolChoice, Tag("any")]
    | Annotated[ToolChoice, Tag("none")]
    | Annotated[NamedTool, Tag("tool")],
    Discriminator(by_type()),
]


class Metadata(Asked):
    user_id: str | None = None


class ThinkingConfig(Asked):
    type: Literal["disabled", "adaptive"]
    display: str | None = None


class JsonFormat(Asked):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(Asked):
    format: JsonFormat | None = None
    effort: str | None = None


class MessagesRequest(Asked):
    """`POST /v1/messages`. `metadata.user_id`, or else `user_profile_id`, is the client that stays with a
    variant."""

    model: str
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)]
    system: str | list[Text] = ""
    stop_sequences: list[Annotated[str, Field(min_length=1)]] = Field(default=[])
    stream: bool = False
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    tools: list[Annotated[Annotated[Tool, Tag("custom")], Discriminator(by_type("custom"))]] = Field(default=[])
    tool_choice: Choice = ToolChoice(type="auto")
    metadata: Metadata = Metadata()
    thinking: ThinkingConfig | None = None
    output_config: OutputConfig = OutputConfig()
    service_tier: Literal["auto", "standard_only"] | None = None
    speed: Literal["standard"] | None = None
    mcp_servers: Annotated[list[Any], Field(max_length=0)] = Field(default=[])
    user_profile_id: str | None = None
    cache_control: Mark | None = None

    def chat(self) -> dict[str, Any]:
        """The same request for `/v1/chat/completions`."""
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "stop": self.stop_sequences or None,
            "user": self.metadata.user_id or self.user_profile_id,
            "reasoning_effort": self.output_config.effort,
        }
        turns = self.turns()
        chat: dict[str, Any] = {"model": self.model, "messages": turns, "max_tokens": self.max_tokens}
        chat |= {name: value for name, value in given.items() if value is not None}
        if self.output_config.format is not None:
            schema = {"name": "answer", "schema": self.output_config.format.schema_}
            chat["response_format"] = {"type": "json_schema", "json_schema": schema}
        if turns[-1]["role"] == "assistant":
            chat |= {"continue_final_message": True, "add_generation_prompt": False}
        if self.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        return chat | self.chat_tools()

    def turns(self) -> Turns:
        system = self.system if isinstance(self.system, str) else content_of(list(self.system))
        turns: Turns = [{"role": "system", "content": system}] if system else []
        for message in self.messages:
            message.join(turns)
        return turns

    def chat_tools(self) -> dict[str, Any]:
        """Tools, and how they may be chosen; nothing without tools."""
        if not self.tools:
            return {}
        parallel = {"parallel_tool_calls": False} if self.tool_choice.disable_parallel_tool_use else {}
        return {"tools": [tool.chat() for tool in self.tools], "tool_choice": self.tool_choice.chat(), **parallel}
