"""One form for requests that ask for the same, before a variant is chosen.

Clients say "nothing" in many ways: null, a default value, an empty list. They send our own answers back as history, and
text as one string or in parts. Engines differ in which of these they take, so the ingress decides once. Sampling fields
(`temperature`, `top_p`, `top_k`, `min_p`, penalties) stay as they are: 1 or 0 is no default where a model's
`generation_config.json` has another.
"""

from contextlib import suppress
from typing import Any

from variants.errors import InputError

CHAT, COMPLETIONS, TOKENIZE = "/v1/chat/completions", "/v1/completions", "/tokenize"
MARKS = frozenset({"cache_control", "prompt_cache_breakpoint", "provider_specific_fields", "thinking_blocks"})
"""What gateways leave on requests, messages and their parts for another vendor, and where a cache may end."""
NOTHING: dict[str, tuple[Any, ...]] = {
    "add_generation_prompt": (True,),
    "bad_words": ([],),
    "best_of": (1,),
    "chat_template_kwargs": ({},),
    "continue_final_message": (False,),
    "documents": ([],),
    "early_stopping": (False,),
    "echo": (False,),
    "extra_body": ({},),
    "extra_headers": ({},),
    "functions": ([],),
    "ignore_eos": (False,),
    "include_reasoning": (True,),
    "include_stop_str_in_output": (False,),
    "length_penalty": (1, 1.0),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "min_tokens": (0,),
    "modalities": (["text"], []),
    "n": (1,),
    "priority": (0,),
    "response_format": ({"type": "text"},),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "service_tier": ("auto", "default"),
    "skip_special_tokens": (True,),
    "spaces_between_special_tokens": (True,),
    "stop": ([], ""),
    "stop_token_ids": ([],),
    "store": (False,),
    "stream": (False,),
    "stream_options": ({},),
    "suffix": ("",),
    "tools": ([],),
    "top_logprobs": (0,),
    "use_beam_search": (False,),
    "verbosity": ("medium",),
}
"""By field: the values that say the same as leaving it out. Types count: `logprobs` 0 is not `logprobs` false."""
TEXT_OF = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""By type: the field of a part that is its text."""
MOST_BIAS = 100
MOST_STOPS, STOP_LENGTH = 16, 256
"""Stop strings, and characters of one: all are looked for at every token."""


def normalised(path: str, document: dict[str, Any]) -> dict[str, Any]:
    """The same request without what asks for nothing; `document` itself is not changed. Raises InputError for fields
    that contradict each other."""
    kept = {name: value for name, value in document.items() if not asks_nothing(name, value)}
    if path in (CHAT, COMPLETIONS):
        settle_tools(kept)
        settle_length(path, kept)
        settle_stream(kept)
        check_stop(kept.get("stop"))
        check_bias(kept.get("logit_bias"))
        if kept.get("top_logprobs") and not kept.get("logprobs"):
            raise InputError("logprobs is not asked for", field="top_logprobs", mend="send logprobs true as well")
    if path == COMPLETIONS:
        kept |= one_prompt(kept.get("prompt"))
    if (
        path != COMPLETIONS
        and kept.get("continue_final_message") is True
        and kept.get("add_generation_prompt") is not False
    ):
        raise InputError(
            "the last message cannot be continued after a new one begins",
            field="continue_final_message",
            mend="send add_generation_prompt false as well",
        )
    if path in (CHAT, TOKENIZE) and isinstance(kept.get("messages"), list):
        kept["messages"] = [message_of(each) for each in kept["messages"]]
    return kept


def asks_nothing(name: str, value: Any) -> bool:
    """Whether a field of the request is as good as left out."""
    if value is None or name in MARKS:
        return True
    if name == "response_format" and isinstance(value, dict):
        value = {key: each for key, each in value.items() if each is not None}
    return name in NOTHING and any(type(value) is type(each) and value == each for each in NOTHING[name])


def settle_tools(kept: dict[str, Any]) -> None:
    """How to choose among tools says nothing where there are none."""
    for tools, choice in (("tools", "tool_choice"), ("functions", "function_call")):
        if tools not in kept and kept.get(choice) in ("none", "auto"):
            del kept[choice]
    if "tools" not in kept or kept.get("parallel_tool_calls") is True:
        kept.pop("parallel_tool_calls", None)


def settle_length(path: str, kept: dict[str, Any]) -> None:
    """`max_completion_tokens` is the newer name of `max_tokens`, and counts where both are sent."""
    if "max_completion_tokens" in kept:
        kept.pop("max_tokens", None)
        if path == COMPLETIONS:
            kept["max_tokens"] = kept.pop("max_completion_tokens")


def settle_stream(kept: dict[str, Any]) -> None:
    """Options that ask for something belong to a stream. Usage in every chunk is a form of `include_usage`, and asks
    for nothing without it. Raises InputError."""
    options = kept.get("stream_options")
    if not isinstance(options, dict):
        return
    options = {
        name: value
        for name, value in options.items()
        if value is not None and value is not False and name != "include_obfuscation"
    }
    if "include_usage" not in options:
        options.pop("continuous_usage_stats", None)
    if options and "stream" not in kept:
        raise InputError("the answer is not streamed", field="stream_options", mend="send stream true, or leave it out")
    kept["stream_options"] = options
    if not options:
        del kept["stream_options"]


def check_stop(stop: Any) -> None:
    """Raises InputError unless `stop` is absent, a string, or a few of them."""
    listed = [stop] if isinstance(stop, str) else stop or []
    right = isinstance(listed, list) and len(listed) <= MOST_STOPS
    if not right or not all(isinstance(each, str) and 0 < len(each) <= STOP_LENGTH for each in listed):
        raise InputError(
            "not a string or a list of strings that stop an answer",
            field="stop",
            mend=f"at most {MOST_STOPS} strings of 1 to {STOP_LENGTH} characters",
        )


def check_bias(bias: Any) -> None:
    """Raises InputError for a bias that is out of range. Engines read numbers in strings as numbers, and vLLM would
    bring one that is out of range to the nearest that is not."""
    for token, value in bias.items() if isinstance(bias, dict) else ():
        with suppress(ValueError):  # what is no number is left to the engine
            number = float(value) if isinstance(value, str) else value
            if isinstance(number, int | float) and not abs(number) <= MOST_BIAS:
                mend = f"from -{MOST_BIAS} to {MOST_BIAS}"
                raise InputError(f"{value!s:.20} is out of range", field=f"logit_bias.{token:.20}", mend=mend)


def one_prompt(prompt: Any) -> dict[str, Any]:
    """A list of one text, or of one list of token ids, is that one; anything else stays."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        return {"prompt": prompt[0]}
    return {}


def message_of(message: Any) -> Any:
    """A message as every engine takes it: with a content, and without null fields, empty lists and marks. An answer of
    ours can be sent back as it came. What is no object stays, for the engine to refuse."""
    if not isinstance(message, dict):
        return message
    kept = {
        name: value
        for name, value in message.items()
        if value is not None and value != [] and name not in MARKS
    }  # fmt: skip
    content = kept.get("content", "")
    kept["content"] = content_of(content) if isinstance(content, list) else content
    return kept


def content_of(parts: list[Any]) -> Any:
    """Text parts as one text, a line each, empty ones left out. A content with other parts stays a list, less its
    marks."""
    texts = [text_of(part) for part in parts]
    if all(isinstance(text, str) for text in texts):
        return "\n".join(text for text in texts if text)
    return [
        {name: value for name, value in part.items() if name not in MARKS} if isinstance(part, dict) else part
        for part in parts
    ]


def text_of(part: Any) -> Any:
    """The text of a part, which may be a string itself; None for a part that is no text."""
    if isinstance(part, dict):
        field = TEXT_OF.get(part["type"]) if isinstance(part.get("type"), str) else None
        return None if field is None else part.get(field, "") or ""
    return part if isinstance(part, str) else None
