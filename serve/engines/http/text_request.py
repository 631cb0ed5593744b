"""What a client may ask of a text engine of ours: the fields of vLLM's completions and chats, typed and checked.

What vLLM honours and this engine does not is refused by name: dropped in silence, it would make two variants differ for
no reason that anyone can see. What vLLM does not know is ignored here too. The ingress has left out before what asks
for nothing, such as null (`serve/api/normalise.py`).
"""

import re
import sys
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, ValidationError, ValidationInfo, field_validator

from variants.document import Document
from variants.errors import InputError

MAX_TOP_LOGPROBS = 20
MOST_STOPS = 16
STOP_LENGTH = 256
"""Characters of one: few and short enough to be searched for at every token."""
MOST_CHOICES = 128
"""Answers to one prompt, OpenAI's own limit."""
MOST_PROMPTS = 1024


def no_bool(value: object) -> object:
    """vLLM reads numbers in strings as numbers; `true` is none."""
    if isinstance(value, bool):
        raise ValueError("Input should be a valid integer")
    return value


Int = Annotated[int, BeforeValidator(no_bool)]
TokenId = Annotated[Int, Field(ge=0)]
Bias = Annotated[float, Field(ge=-100, le=100)]
Role = Annotated[str, Field(min_length=1)]
"""Any: models have roles of their own, such as `ipython`."""
Seed = Annotated[Int, Field(ge=-(2**63), lt=2**63)]
Alternatives = Annotated[Int, Field(ge=0, le=MAX_TOP_LOGPROBS)]
Penalty = Annotated[float, Field(ge=-2, le=2)]


class Tolerant(Document):
    """Ignores fields that it does not know, as vLLM does: clients send what other servers know."""

    model_config = ConfigDict(extra="ignore")


class Identified(Document):
    """Whom a request is for. The ingress reads it, and it changes no answer."""

    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None


class NotOffered(Tolerant):
    """What vLLM honours and this engine does not. It is refused, because the answers would differ."""

    bad_words: None = None
    ec_transfer_params: None = None
    kv_transfer_params: None = None
    logprob_token_ids: None = None
    mm_payload: None = None
    repetition_detection: None = None
    return_token_offsets: None = None
    stream_interval: None = None
    thinking_token_budget: None = None
    truncation_side: None = None
    use_beam_search: None = None
    vllm_xargs: None = None
    watermarking: None = None


class StreamOptions(Tolerant):
    include_usage: StrictBool = False
    continuous_usage_stats: StrictBool = False
    include_obfuscation: StrictBool | None = None


class JsonSchema(Tolerant):
    name: str
    description: str | None = None
    definition: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class ResponseFormat(Tolerant):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @field_validator("json_schema")
    @classmethod
    def _goes_with_its_type(cls, value: JsonSchema | None, info: ValidationInfo) -> JsonSchema | None:
        if value is not None and info.data.get("type") != "json_schema":
            raise ValueError("it goes with the type json_schema")
        return value


class StructuredOutputs(Document):
    """vLLM's own way to ask for a form."""

    definition: dict[str, Any] | None = Field(default=None, alias="json")
    json_object: bool | None = None
    choice: Annotated[list[str], Field(min_length=1)] | None = None


class _Common(Identified, NotOffered):
    """Fields of both routes. The sampling fields without a place in `Generation` are checked, and change nothing where
    nothing is drawn by chance."""

    model: str
    echo: bool = False
    stream: StrictBool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[Int, Field(ge=0)] | None = None
    min_tokens: Annotated[Int, Field(ge=0)] = 0
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[Int, Field(ge=-1)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    length_penalty: float = 1.0
    seed: Seed | None = None
    stop: str | list[Annotated[str, Field(min_length=1)]] | None = None
    stop_token_ids: list[Int] | None = None
    include_stop_str_in_output: bool = False
    logit_bias: dict[TokenId, Bias] | None = None
    allowed_token_ids: Annotated[list[TokenId], Field(min_length=1)] | None = None
    ignore_eos: bool = False
    n: Annotated[Int, Field(ge=1, le=MOST_CHOICES)] | None = 1
    best_of: Annotated[Int, Field(ge=1)] | None = None
    prompt_logprobs: Alternatives | None = None
    truncate_prompt_tokens: Annotated[Int, Field(ge=-1)] | None = None
    return_token_ids: bool | None = None
    return_tokens_as_token_ids: bool | None = None
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    priority: Literal[0] = 0
    request_id: str | None = None
    session_id: str | None = None
    cache_salt: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    service_tier: str | None = None

    @field_validator("max_tokens")
    @classmethod
    def _none_with_echo_alone(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value == 0 and not info.data.get("echo"):
            raise ValueError("Input should be at least 1 without echo")
        return value

    @field_validator("min_tokens")
    @classmethod
    def _not_above_max_tokens(cls, value: int, info: ValidationInfo) -> int:
        most = info.data.get("max_tokens")
        if most is not None and value > most:
            raise ValueError("Input should be at most max_tokens")
        return value

    @field_validator("stop")
    @classmethod
    def _few_and_short(cls, value: str | list[str] | None) -> str | list[str] | None:
        listed = [value] if isinstance(value, str) else value or []
        if len(listed) > MOST_STOPS or any(len(stop) > STOP_LENGTH for stop in listed):
            raise ValueError(f"at most {MOST_STOPS} strings of at most {STOP_LENGTH} characters")
        return value

    @field_validator("prompt_logprobs")
    @classmethod
    def _not_in_a_stream(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and info.data.get("stream"):
            raise ValueError("not with stream, which has no place for them")
        return value

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None or self.stop == "":
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    @property
    def shows_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def shows_usage_always(self) -> bool:
        return self.shows_usage and self.stream_options is not None and self.stream_options.continuous_usage_stats

    @property
    def choices(self) -> int:
        """Answers to each prompt."""
        return self.n or 1

    @property
    def schema_asked(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must have; None for free text."""
        form, own = self.response_format, self.structured_outputs
        if own is not None and (own.definition is not None or own.json_object):
            return own.definition or {"type": "object"}
        if form is None or form.type == "text":
            return None
        return (form.json_schema and form.json_schema.definition) or {"type": "object"}

    @property
    def wordings(self) -> tuple[str, ...]:
        """The answers to choose from; none for free text."""
        own = self.structured_outputs
        return tuple(own.choice) if own is not None and own.choice else ()


class CompletionRequest(_Common):
    """`POST /v1/completions`. A prompt is text or token ids, and there may be several, each with answers of its own."""

    default_limit: ClassVar[int] = 16  # OpenAI's own
    limit_name: ClassVar[str] = "max_tokens"
    prompt: str | list[int] | list[str] | list[list[int]]
    logprobs: Alternatives | None = None
    suffix: None = None
    prompt_embeds: None = None
    add_special_tokens: bool = True

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Each prompt as text, or as token ids. Raises InputError where there is none, or too many."""
        one = isinstance(self.prompt, str) or (bool(self.prompt) and isinstance(self.prompt[0], int))
        several: Any = [self.prompt] if one else self.prompt
        if not several or not all(several):
            raise InputError("empty", field="prompt", mend="at least one token")
        if len(several) > MOST_PROMPTS:
            raise InputError(f"{len(several)} prompts", field="prompt", mend=f"at most {MOST_PROMPTS} a request")
        prompts: list[str] | list[list[int]] = several
        return prompts

    @property
    def alternatives(self) -> int | None:
        """How many alternatives a token comes with; None for no logprobs at all."""
        return self.logprobs

    @property
    def prompt_alternatives(self) -> int | None:
        """The same for the prompt's own tokens, which `echo` shows with the answer's."""
        return self.logprobs if self.prompt_logprobs is None and self.echo else self.prompt_logprobs

    @property
    def token_limit(self) -> int | None:
        """What was asked for, and must fit."""
        return self.max_tokens


class TextPart(Tolerant):
    type: Literal["text", "input_text", "output_text"]
    text: str


class ChatMessage(Tolerant):
    role: Role
    content: str | list[TextPart | str] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    function_call: dict[str, Any] | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    def plain(self) -> dict[str, str]:
        """The message as chat templates read it; `developer` is what newer clients call `system`."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        texts = [part if isinstance(part, str) else part.text for part in self.content or []]
        return "\n".join(text for text in texts if text)


class _Conversation(Tolerant):
    """Fields of a chat that is to become one prompt."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] | None = None

    @field_validator("continue_final_message")
    @classmethod
    def _instead_of_a_new_one(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("add_generation_prompt"):
            raise ValueError("not with add_generation_prompt")
        return value


class ChatRequest(_Common, _Conversation):
    """`POST /v1/chat/completions`, text only. Tools may be there, but not be called."""

    default_limit: ClassVar[int] = sys.maxsize  # to the end of the context
    max_completion_tokens: Annotated[Int, Field(ge=1)] | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    tool_choice: Literal["none"] | None = None
    tools: list[dict[str, Any]] | None = None
    parallel_tool_calls: bool | None = None
    documents: list[dict[str, str]] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    include_reasoning: bool = True
    modalities: list[Literal["text"]] | None = None
    chat_template: None = None
    media_io_kwargs: None = None
    mm_processor_kwargs: None = None

    @field_validator("tools")
    @classmethod
    def _not_to_be_called(cls, value: list[dict[str, Any]] | None, info: ValidationInfo) -> Any:
        if value and info.data.get("tool_choice") != "none":
            raise ValueError("no tool can be called here; send tool_choice none")
        return value

    @field_validator("max_tokens")
    @classmethod
    def _at_least_one(cls, value: int | None) -> int | None:
        if value == 0:
            raise ValueError("Input should be at least 1")
        return value

    @property
    def alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None

    @property
    def prompt_alternatives(self) -> int | None:
        return (self.top_logprobs or 0) if self.prompt_logprobs is None and self.echo else self.prompt_logprobs

    @property
    def token_limit(self) -> int | None:
        """What was asked for, and must fit."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def limit_name(self) -> str:
        """The field that `token_limit` is of."""
        return "max_completion_tokens" if self.max_completion_tokens else "max_tokens"


class TokenizeRequest(Tolerant):
    """`POST /tokenize`, as vLLM has it for a prompt."""

    model: str
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool | None = None


class TokenizeChatRequest(_Conversation):
    """The same for a chat."""

    model: str
    return_token_strs: bool | None = None


UNION_MEMBER = re.compile(r"str|list\[.*\]|TextPart|constrained-.*|function-before.*")
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
        said = nearest["msg"].removeprefix("Value error, ")
        raise InputError(f"{said}, and {nearest['input']!r:.80} was sent", field=path) from None
