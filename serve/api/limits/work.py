"""Bounds on the work of one request, checked before it waits for an engine.

A request takes one place at its engine, whatever it asks for, so what it may ask for is bounded by `limits` of its
model. Only counts are read here. A field of a wrong type is left to the engine, which knows its own fields.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from pydantic import TypeAdapter, ValidationError

from serve.config.stack import Limits, Model
from variants.artifacts.manifest import TaskKind
from variants.errors import InputError

INPUTS: Mapping[TaskKind, int] = {
    "text-generation": 128,
    "feature-extraction": 2048,
    "text-classification": 2048,
    "image-classification": 256,
    "object-detection": 1,
    "image-generation": 1,
}
"""The most inputs of one request, where `limits.inputs` is not set."""
DEFAULT_TOKENS = 16
"""New tokens of a completion that does not say how many."""
DEFAULT_CONTEXT = 2048
"""Tokens of an engine whose settings name no context."""
TEXTS = ("prompt", "input", "documents", "texts", "queries")
"""Fields that hold one input or a list of them."""
ANSWERS = ("n", "best_of")
MEDIA = (
    "image_url", "video_url", "audio_url", "input_audio", "image_pil", "image_embeds", "audio_embeds", "video_embeds"
)  # fmt: skip
"""Names of what vLLM reads of a part that is no text."""
NEW_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LOGPROBS = 2**19
"""The most log probabilities of one answer's prompts, and of its new tokens: each is up to 25 MiB of JSON."""

NUMBER = TypeAdapter(int)
T = TypeVar("T")
NOTHING = msgspec.Raw(b"null")


class Shaped(msgspec.Struct):
    """What is read of a tensor in an infer request."""

    shape: msgspec.Raw = NOTHING


class Head(msgspec.Struct):
    """What is read of an infer request. msgspec skips the rest without making objects of it. The last value of a name
    counts, as for the engine, so no value is read before all have been seen."""

    inputs: msgspec.Raw = NOTHING


def most_inputs(model: Model) -> int:
    return model.limits.inputs or INPUTS[model.task]


def check_work(document: Mapping[str, Any], path: str, model: Model) -> None:
    """Check the work of a JSON request. Raises InputError, which names the field."""
    inputs = 1
    for field in TEXTS:
        inputs = max(inputs, inputs_of(document.get(field)))
        check_inputs(inputs, field, model)
    answers = 1
    for field in ANSWERS:
        answers = max(answers, number_of(document.get(field)))
        if answers > model.limits.choices:
            mend = f"at most {model.limits.choices}, or raise limits.choices"
            raise InputError(f"{answers} answers are too many", field=field, mend=mend)
    check_characters(document, model.limits)
    check_media(document.get("messages"), model)
    if model.task == "text-generation" and path != "/tokenize":
        if answers * inputs > 1:
            check_tokens(document, path, answers * inputs, model)
        check_logprobs(document, path, answers, inputs, model)


def check_tensors(head: bytes, model: Model) -> None:
    """Check the number of examples of an infer request. `head` is its JSON part, in UTF-8. The engine refuses values of
    a wrong type, but reads more than JSON: NaN and UTF-16. Raises InputError, which names the field."""
    try:
        tensors = read(read(head, Head, Head()).inputs, list[msgspec.Raw], [])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"not JSON: {error}", field="body", mend='{"inputs": [...]}') from None
    for i, tensor in enumerate(tensors):
        shape = read(read(tensor, Shaped, Shaped()).shape, list[int], [])
        check_inputs(shape[0] if shape else 1, f"inputs[{i}].shape", model)


def read(text: bytes | msgspec.Raw, kind: type[T], other: T) -> T:
    """A JSON value of a type, or `other` where it has another type. Raises DecodeError for what is not JSON."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.ValidationError:
        return other


def check_inputs(inputs: int, field: str, model: Model) -> None:
    if inputs > most_inputs(model):
        mend = f"at most {most_inputs(model)} in one request, or raise limits.inputs"
        raise InputError(f"{inputs} inputs are too many", field=field, mend=mend)


def check_tokens(document: Mapping[str, Any], path: str, answers: int, model: Model) -> None:
    """Check the new tokens of several answers; those of one are bounded by the context. Raises InputError."""
    asked = max(number_of(document.get(field)) for field in NEW_TOKENS)
    longest = asked or (DEFAULT_TOKENS if path.endswith("/v1/completions") else context_of(model))
    if answers * longest > model.limits.tokens:
        field = next((field for field in NEW_TOKENS if number_of(document.get(field)) == asked), NEW_TOKENS[0])
        mend = f"at most {model.limits.tokens} in all, or raise limits.tokens"
        raise InputError(f"{answers} answers of {longest} tokens are too many", field=field, mend=mend)


def check_media(messages: Any, model: Model) -> None:
    """Check the pictures and other media in a chat: their number, and that each comes with the request. vLLM would
    fetch an address from wherever the client says. Raises InputError."""
    for number, (field, name, value) in enumerate(media_of(messages), 1):
        check_inputs(number, "messages", model)
        address = value.get("url") if isinstance(value, dict) else value
        if name.endswith("_url") and isinstance(address, str) and not address.startswith("data:"):
            message = "an address is not fetched here"
            raise InputError(message, field=field, mend="send the file itself as a data: URL in base64")


def media_of(messages: Any) -> Iterator[tuple[str, str, Any]]:
    """The path, the name and the value of each part of a chat's messages that is no text. vLLM reads such a part by its
    name, also where its type is left out."""
    for i, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, dict) else None
        for j, part in enumerate(content if isinstance(content, list) else ()):
            for name, value in part.items() if isinstance(part, dict) else ():
                if name in MEDIA and value is not None:
                    yield f"messages[{i}].content[{j}].{name}", name, value


def check_logprobs(document: Mapping[str, Any], path: str, answers: int, prompts: int, model: Model) -> None:
    """Check the log probabilities of a request's prompts, which are listed in each of its answers, and of the tokens of
    one unstreamed answer. Raises InputError."""
    if document.get("logprobs") is None and document.get("prompt_logprobs") is None:
        return
    in_chat = "messages" in document
    field = "top_logprobs" if in_chat and document.get("logprobs") else "logprobs"
    each = 1 + max(0, number_of(document.get(field)))
    asked, wanted = number_of(document.get("prompt_logprobs")), "prompt_logprobs"
    if asked <= 0 and document.get("echo") and document.get("logprobs") is not None:
        asked, wanted = each - 1, field
    if asked > 0 or wanted == field:
        tokens = prompt_tokens(document.get("messages" if in_chat else "prompt"), context_of(model))
        check_number(answers * tokens * (asked + 1), wanted)
    if document.get("logprobs") and not document.get("stream"):
        new = max(number_of(document.get(name)) for name in NEW_TOKENS)
        several = answers * prompts > 1 and not path.endswith("/v1/completions")
        check_number(answers * prompts * (new or (context_of(model) if several else DEFAULT_TOKENS)) * each, field)


def check_number(logprobs: int, field: str) -> None:
    if logprobs > LOGPROBS:
        mend = f"at most {LOGPROBS} in one request: fewer of each token, fewer prompts, or fewer tokens"
        raise InputError(f"up to {logprobs} log probabilities are too many", field=field, mend=mend)


def prompt_tokens(prompt: Any, context: int) -> int:
    """The most tokens that the prompts of a request have: a token of a text has at least one byte, and a prompt has no
    more tokens than the context."""
    if isinstance(prompt, list) and any(isinstance(each, (str, list)) for each in prompt):
        return sum(prompt_tokens(each, context) for each in prompt)
    if isinstance(prompt, list) and not any(isinstance(each, dict) for each in prompt):
        return min(len(prompt), context)
    return min(4 * characters_of(prompt), context)


def context_of(model: Model) -> int:
    """The longest context of a model's variants, in tokens."""
    return max(getattr(variant.engine, "context", DEFAULT_CONTEXT) for variant in model.variants.values())


def check_characters(document: Mapping[str, Any], limits: Limits) -> None:
    """Check the texts of a request together. Raises InputError."""
    size = 0
    for field in (*TEXTS, "messages", "query", "suffix", "instructions"):
        size += characters_of(document.get(field))
        if size > limits.characters:
            mend = f"at most {limits.characters} in one request, or raise limits.characters"
            raise InputError(f"{size} characters are too many", field=field, mend=mend)


def number_of(value: Any) -> int:
    """A whole number as vLLM reads it, by pydantic, which also takes 16.0, "16.0", "+16" and "1_6"; 0 for anything
    else."""
    if value is None:  # most fields of most requests; an exception costs more than all else here
        return 0
    try:
        return NUMBER.validate_python(value)
    except ValidationError:
        return 0


def inputs_of(value: Any) -> int:
    """How many inputs a field holds: the texts of a list, or its lists of token ids. Token ids alone are one input."""
    return sum(isinstance(each, (str, list)) for each in value) if isinstance(value, list) else 1


def characters_of(value: Any) -> int:
    """Characters of all texts in a field: a string, or lists and objects that hold strings as `text` or `content`. An
    image in a message is no text."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(characters_of(each) for each in value if not isinstance(each, (int, float)))
    if isinstance(value, dict):
        return sum(characters_of(value.get(name)) for name in ("content", "text"))
    return 0
