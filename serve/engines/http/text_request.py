"""What a client may ask of a text engine of ours: OpenAI's completions and chat, typed and checked.

What is understood is honoured and everything else is refused by name: a field dropped in silence would make
two variants differ for no reason that anyone can see. Fields that change nothing here (`user`, `store`,
`metadata`, `service_tier`) are accepted, and so is what is not offered where its value asks for nothing
(`n` 1, `presence_penalty` 0).
"""

import re
import sys
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import (
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from variants.document import Document
from variants.errors import InputError

MAX_TOP_LOGPROBS = 20
MOST_STOPS = 16
STOP_LENGTH = 256
"""Characters of one. OpenAI takes 4 strings and vLLM any number; these are more than clients send, and few enough to be
searched for at every token."""

Role = Literal["system", "developer", "user", "assistant"]
Bias = Annotated[float, Field(ge=-100, le=100)]


class ContextTooShort(InputError):
    """A prompt that leaves no room for an answer."""

    code = "context_length_exceeded"


class StreamOptions(Document):
    include_usage: StrictBool = False
    include_obfuscation: Literal[False] = False


class _Common(Document):
    """Fields of both routes."""

    model: str
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: StrictInt | None = None
    stop: str | list[Annotated[str, Field(min_length=1)]] | None = None
    logit_bias: dict[Annotated[int, Field(ge=0)], Bias] | None = None
    ignore_eos: StrictBool = False
    n: Literal[1] | None = 1
    presence_penalty: Literal[0] | None = 0
    frequency_penalty: Literal[0] | None = 0
    user: str | None = None
    store: StrictBool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None

    @field_validator("stop")
    @classmethod
    def _few_and_short(cls, value: str | list[str] | None) -> str | list[str] | None:
        listed = [value] if isinstance(value, str) else value or []
        if len(listed) > MOST_STOPS or any(len(stop) > STOP_LENGTH for stop in listed):
            raise ValueError(f"at most {MOST_STOPS} strings of at most {STOP_LENGTH} characters")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None or self.stop == "":
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def shows_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class CompletionRequest(_Common):
    """`POST /v1/completions`. A prompt is text or token ids; one a request. `prompt_logprobs`, as vLLM has it: how
    many alternatives each token of the prompt comes with, beside itself."""

    default_limit: ClassVar[int] = 16  # OpenAI's own
    prompt: str | list[StrictInt]
    logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    echo: Literal[False] | None = False
    best_of: Literal[1] | None = 1
    suffix: None = None
    add_special_tokens: StrictBool = True
    prompt_logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @field_validator("prompt_logprobs")
    @classmethod
    def _not_in_a_stream(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("stream"):
            raise ValueError("not with stream, which has no place for them")
        return value

    @property
    def alternatives(self) -> int | None:
        """How many alternatives a token comes with; None for no logprobs at all."""
        return self.logprobs

    @property
    def token_limit(self) -> int | None:
        """What was asked for, and must fit."""
        return self.max_tokens


class TextPart(Document):
    type: Literal["text"]
    text: str


class ChatMessage(Document):
    role: Role
    content: str | list[TextPart]
    name: str | None = None

    def plain(self) -> dict[str, str]:
        """The message as chat templates read it."""
        content = self.content if isinstance(self.content, str) else "".join(p.text for p in self.content)
        return {"role": self.role, "content": content}


class ChatRequest(_Common):
    """`POST /v1/chat/completions`, text only, without tools."""

    default_limit: ClassVar[int] = sys.maxsize  # to the end of the context
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def token_limit(self) -> int | None:
        """What was asked for, and must fit."""
        return self.max_completion_tokens or self.max_tokens


class TokenizeRequest(Document):
    """`POST /tokenize`, as vLLM has it for a prompt."""

    model: str
    prompt: str
    add_special_tokens: StrictBool = True


UNION_MEMBER = re.compile(r"str|list\[.*\]")
"""What pydantic adds to a path to say which form of a field it tried."""
Kind = TypeVar("Kind", bound=Document)


def parse(kind: type[Kind], body: bytes) -> Kind:
    """The body as a request of `kind`. Raises InputError naming a field that is wrong."""
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False)
        nearest = max(errors, key=lambda each: len(each["loc"]))  # the form of a field that came nearest
        if nearest["type"] == "json_invalid":
            raise InputError(nearest["msg"], field="body", mend="send a JSON object") from None
        path = ".".join(part for part in map(str, nearest["loc"]) if not UNION_MEMBER.fullmatch(part)) or "body"
        if nearest["type"] == "extra_forbidden":
            raise InputError("is not supported here", field=path, mend="leave it out") from None
        raise InputError(f"{nearest['msg']}, and {nearest['input']!r:.80} was sent", field=path) from None
